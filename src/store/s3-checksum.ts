// CRC32C as S3 writes it (base64 of its four bytes, high byte first) and as we do (eight hexadecimal digits).

import { formatCrc } from "../base/crc.js";

/** For a request's `ChecksumCRC32C`. @param crc eight hexadecimal digits, or the number. */
export function toS3Crc(crc: string | number): string {
  return Buffer.from(typeof crc === "number" ? formatCrc(crc) : crc, "hex").toString("base64");
}

/** The content's CRC32C, where S3 tells it; not so for one composed of the parts' sums, which ends in `-N` or says so. */
export function fromS3Crc(reply: {
  readonly ChecksumCRC32C?: string | undefined;
  readonly ChecksumType?: string | undefined;
}): string | undefined {
  if (reply.ChecksumCRC32C === undefined || reply.ChecksumType === "COMPOSITE") return undefined;
  const bytes = Buffer.from(reply.ChecksumCRC32C, "base64");
  return bytes.length === 4 && !reply.ChecksumCRC32C.includes("-") ? bytes.toString("hex") : undefined;
}
