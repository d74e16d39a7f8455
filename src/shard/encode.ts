// The engine's values in the dtype in which they are stored.

import type { FloatDType } from "../base/dtype.js";
import { SluiceError } from "../base/errors.js";
import { decodeBfloat16, encodeBfloat16, encodeFloat16 } from "../base/float16.js";
import { floatsOf, patternsOf } from "./decode.js";
import { vectorRows } from "./vector-rows.js";

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
  if (from !== "float32" || to === "float32") throw new SluiceError("bug", `cannot store ${from} as ${to}`);
  const values = floatsOf(data);
  const { patterns, overflow } = vectorRows()?.encode(values, to) ?? encodeValues(values, to);
  return { data: bytesOfArray(patterns), overflow };
}

/** Patterns of values, and how many finite ones became infinite float16. */
export function encodeValues(
  values: Float32Array,
  to: "bfloat16" | "float16",
): { patterns: Uint16Array; overflow: number } {
  if (to === "bfloat16") return { patterns: encodeBfloat16(values), overflow: 0 };
  const patterns = encodeFloat16(values);
  let overflow = 0;
  for (let i = 0; i < patterns.length; i++) {
    if (((patterns[i] ?? 0) & 0x7fff) === FLOAT16_INFINITY && Number.isFinite(values[i])) overflow += 1;
  }
  return { patterns, overflow };
}

function bytesOfArray(array: Float32Array | Uint16Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}
