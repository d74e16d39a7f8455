// Sum, sum of squares and largest size of one row of stored values, at the speed of memory: several partial sums, because an
// addition waits for the one before it, and 16-bit values by a table of all 65,536, because converting them costs more than adding.

import { decodeBfloat16, decodeFloat16 } from "../base/float16.js";

/** Of one row, float64. `squares` is not finite where any value of the row is not. */
export interface RowSums {
  sum: number;
  squares: number;
  max: number;
}

const tables = new Map<"bfloat16" | "float16", Float32Array>();

/** The value of every 16-bit pattern. */
export function valuesOfPatterns(dtype: "bfloat16" | "float16"): Float32Array {
  const known = tables.get(dtype);
  if (known) return known;
  const patterns = Uint16Array.from({ length: 65_536 }, (_, pattern) => pattern);
  const table = dtype === "bfloat16" ? decodeBfloat16(patterns) : decodeFloat16(patterns);
  tables.set(dtype, table);
  return table;
}

/** Sums values[start, end) into `out`. */
export function sumFloats(values: Float32Array, start: number, end: number, out: RowSums): void {
  // One by one: values taken from an array stay boxed, and the loop is four times slower.
  let s0 = 0;
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  let q0 = 0;
  let q1 = 0;
  let q2 = 0;
  let q3 = 0;
  let m0 = 0;
  let m1 = 0;
  let i = start;
  for (const whole = end - ((end - start) & 3); i < whole; i += 4) {
    const a = values[i] as number;
    const b = values[i + 1] as number;
    const c = values[i + 2] as number;
    const d = values[i + 3] as number;
    s0 += a;
    s1 += b;
    s2 += c;
    s3 += d;
    q0 += a * a;
    q1 += b * b;
    q2 += c * c;
    q3 += d * d;
    m0 = Math.max(m0, Math.abs(a), Math.abs(c));
    m1 = Math.max(m1, Math.abs(b), Math.abs(d));
  }
  for (; i < end; i++) {
    const v = values[i] as number;
    s0 += v;
    q0 += v * v;
    m0 = Math.max(m0, Math.abs(v));
  }
  out.sum = s0 + s1 + (s2 + s3);
  out.squares = q0 + q1 + (q2 + q3);
  out.max = Math.max(m0, m1);
}

/** Sums the values of patterns[start, end) into `out`. Without its sign a pattern grows with the size of its value. */
export function sumPatterns(
  patterns: Uint16Array,
  table: Float32Array,
  start: number,
  end: number,
  out: RowSums,
): void {
  let s0 = 0;
  let s1 = 0;
  let q0 = 0;
  let q1 = 0;
  let largest = 0;
  let i = start;
  for (const whole = end - ((end - start) & 1); i < whole; i += 2) {
    const p = patterns[i] as number;
    const r = patterns[i + 1] as number;
    const a = table[p] as number;
    const b = table[r] as number;
    s0 += a;
    s1 += b;
    q0 += a * a;
    q1 += b * b;
    if ((p & 0x7fff) > largest) largest = p & 0x7fff;
    if ((r & 0x7fff) > largest) largest = r & 0x7fff;
  }
  if (i < end) {
    const p = patterns[i] as number;
    const a = table[p] as number;
    s0 += a;
    q0 += a * a;
    if ((p & 0x7fff) > largest) largest = p & 0x7fff;
  }
  out.sum = s0 + s1;
  out.squares = q0 + q1;
  out.max = table[largest] as number;
}
