// In what parts an object goes to S3: at least 5 MiB each but the last, at most 10,000 of them (Amazon S3 User Guide, "Amazon S3
// multipart upload limits").

import { SluiceError } from "../base/errors.js";
import { MAX_PART_BYTES } from "./parts.js";

/** The length of a part, and of the longest object that is sent in one request: a lost connection costs little, and few requests are billed. */
export const PART_BYTES = 16 << 20;
/** S3's own bounds. */
export const MIN_PART_BYTES = 5 << 20;
export const MAX_PARTS = 10_000;
const MIB = 1 << 20;

/**
 * The length of an object's parts, in whole MiB.
 * @throws SluiceError `config` where the object is larger than 10,000 parts that fit into the memory for uploads (671 GB).
 */
export function partBytesFor(size: number): number {
  const bytes = Math.max(PART_BYTES, Math.ceil(size / MAX_PARTS / MIB) * MIB);
  if (bytes <= MAX_PART_BYTES) return bytes;
  throw new SluiceError("config", "a shard is too large to be uploaded to S3", {
    found: `${size} bytes`,
    expected: `at most ${MAX_PARTS * MAX_PART_BYTES} bytes: ${MAX_PARTS} parts of ${MAX_PART_BYTES / MIB} MiB`,
    fix: "Start a run with a smaller --shard-size.",
  });
}
