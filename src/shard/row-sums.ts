// Sum, sum of squares and largest size of each row of stored values. Several partial sums, because an addition waits for the one before
// it; vector-rows.ts adds in the same order, and gives the same to the last bit.

import type { FloatDType } from "../base/dtype.js";
import { decodeRows } from "./decode.js";

/** Of one row, float64. `squares` is not finite where any value of the row is not; then `max` means nothing. */
export interface RowSums {
  sum: number;
  squares: number;
  max: number;
}

/** Gets one row's sums: an object that the next row changes. */
export type EachRow = (row: number, sums: RowSums) => void;

/** Sums rows of the given width, one after the other. */
export function sumRows(data: Uint8Array, dtype: FloatDType, width: number, each: EachRow): void {
  const values = decodeRows(data, dtype);
  const out = { sum: 0, squares: 0, max: 0 };
  for (let row = 0; row < values.length / width; row++) {
    sumFloats(values, row * width, (row + 1) * width, out);
    each(row, out);
  }
}

/** Sums values[start, end) into `out`. */
function sumFloats(values: Float32Array, start: number, end: number, out: RowSums): void {
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
