// The engine's values in the dtype in which they are stored.

import type { FloatDType } from "../base/dtype.js";
import { SluiceError } from "../base/errors.js";
import { decodeBfloat16, decodeFloat16, encodeBfloat16, encodeFloat16 } from "../base/float16.js";

const FLOAT16_INFINITY = 0x7c00;

/**
 * Encodes values, little-endian. float16 counts finite values that became infinite: they are never silent.
 * bfloat16 for a float32 file (pkl.gz) is widened exactly, so that it holds what a bfloat16 shard would.
 */
export function encodeRows(
  data: Uint8Array,
  from: FloatDType,
  to: FloatDType,
): { data: Uint8Array; overflow: number } {
  if (from === to) return { data, overflow: 0 };
  if (from === "bfloat16" && to === "float32")
    return { data: bytesOfArray(decodeBfloat16(patternsOf(data))), overflow: 0 };
  if (from !== "float32") throw new SluiceError("bug", `cannot store ${from} as ${to}`);
  const values = floatsOf(data);
  if (to === "bfloat16") return { data: bytesOfArray(encodeBfloat16(values)), overflow: 0 };
  const patterns = encodeFloat16(values);
  let overflow = 0;
  for (let i = 0; i < patterns.length; i++) {
    if (((patterns[i] ?? 0) & 0x7fff) === FLOAT16_INFINITY && Number.isFinite(values[i])) overflow += 1;
  }
  return { data: bytesOfArray(patterns), overflow };
}

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

function bytesOfArray(array: Float32Array | Uint16Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}
