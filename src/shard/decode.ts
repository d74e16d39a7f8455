// Stored values as numbers.

import type { FloatDType } from "../base/dtype.js";
import { decodeBfloat16, decodeFloat16 } from "../base/float16.js";

/** The values of encoded rows. */
export function decodeRows(data: Uint8Array, dtype: FloatDType): Float32Array {
  if (dtype === "float32") return floatsOf(data);
  return dtype === "bfloat16" ? decodeBfloat16(patternsOf(data)) : decodeFloat16(patternsOf(data));
}

/** The bytes as float32 values; copied where they are not aligned. */
export function floatsOf(data: Uint8Array): Float32Array {
  const aligned = data.byteOffset % 4 === 0 ? data : data.slice();
  return new Float32Array(aligned.buffer, aligned.byteOffset, aligned.byteLength / 4);
}

/** The bytes as 16-bit patterns; copied where they are not aligned. */
export function patternsOf(data: Uint8Array): Uint16Array {
  const aligned = data.byteOffset % 2 === 0 ? data : data.slice();
  return new Uint16Array(aligned.buffer, aligned.byteOffset, aligned.byteLength / 2);
}
