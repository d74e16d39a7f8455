// How pages of Parquet are expanded: never to more than their header says, which has been checked, since a few bytes can hold
// gigabytes.

import { brotliDecompressSync, gunzipSync } from "node:zlib";
import { Decompress, decompress } from "fzstd";
import type { Compressors } from "hyparquet";
import { compressors } from "hyparquet-compressors";

const SLICE_BYTES = 8 << 10;

/** What `hyparquet` expands pages with. */
export const COMPRESSORS: Compressors = {
  ...compressors,
  GZIP: (bytes, length) => gunzipSync(bytes, { maxOutputLength: Math.max(1, length) }),
  BROTLI: (bytes, length) => brotliDecompressSync(bytes, { maxOutputLength: Math.max(1, length) }),
  ZSTD: expandZstd,
  // The library looks for frames itself, and may go back to the first for ever.
  LZ4: (bytes, length) =>
    (isFramed(bytes, length) ? compressors.LZ4 : compressors.LZ4_RAW)?.(bytes, length) ?? new Uint8Array(),
};

/** Into place where the frame says that it has this length, as writers of Parquet do; else in slices, since four bytes may stand for 128 kB. */
function expandZstd(bytes: Uint8Array, length: number): Uint8Array {
  const expanded = new Uint8Array(length);
  if (frameLength(bytes) === length) return decompress(bytes, expanded);
  let at = 0;
  const stream = new Decompress((piece) => {
    if (at + piece.length > length)
      throw new Error(`a page expands to more than the ${length} bytes that it says`);
    expanded.set(piece, at);
    at += piece.length;
  });
  for (let start = 0; start < bytes.length; start += SLICE_BYTES)
    stream.push(bytes.subarray(start, start + SLICE_BYTES), start + SLICE_BYTES >= bytes.length);
  return expanded.subarray(0, at);
}

/** What a frame of zstd says that it expands to (RFC 8878, 3.1.1.1); undefined where it does not. */
function frameLength(bytes: Uint8Array): number | undefined {
  const descriptor = bytes[4] ?? 0;
  const isSingle = (descriptor >> 5) & 1;
  const kind = descriptor >> 6;
  const at = 5 + (1 - isSingle) + ([0, 1, 2, 4][descriptor & 3] ?? 0);
  if (bytes.length < at + 8 || (kind === 0 && isSingle === 0)) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset + at);
  if (kind === 0) return view.getUint8(0);
  if (kind === 1) return view.getUint16(0, true) + 256;
  return kind === 2 ? view.getUint32(0, true) : Number(view.getBigUint64(0, true));
}

/** Whether it is Hadoop's LZ4: blocks, before each its sizes, which tile the page. */
function isFramed(bytes: Uint8Array, length: number): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let expanded = 0;
  let at = 0;
  while (at + 8 < bytes.length) {
    expanded += view.getUint32(at);
    at += 8 + view.getUint32(at + 4);
  }
  return at === bytes.length && expanded === length;
}
