// Running statistics against two plain passes over the same values, cut into updates and into shards anywhere.

import fc from "fast-check";
import { expect, it } from "vitest";
import type { FloatDType } from "../base/dtype.js";
import { mergeEntries } from "../run/merge-statistics.js";
import { encodeRows } from "./encode.js";
import { Statistics, type StatisticsSummary } from "./statistics.js";

/** The definition: finite values, first their mean, then the rest. */
function plainly(values: readonly number[], width: number, overflow: number): StatisticsSummary {
  const finite = values.filter((v) => Number.isFinite(v));
  const mean = finite.reduce((sum, v) => sum + v, 0) / (finite.length || 1);
  const norms: number[] = [];
  for (let i = 0; i < values.length; i += width) {
    const row = values.slice(i, i + width).filter((v) => Number.isFinite(v));
    norms.push(Math.sqrt(row.reduce((sum, v) => sum + v * v, 0)));
  }
  return {
    count: finite.length,
    rows: norms.length,
    mean,
    variance: finite.reduce((sum, v) => sum + (v - mean) ** 2, 0) / (finite.length || 1),
    mean_norm: norms.reduce((sum, n) => sum + n, 0) / (norms.length || 1),
    max_abs: finite.reduce((max, v) => Math.max(max, Math.abs(v)), 0),
    nan: values.filter((v) => Number.isNaN(v)).length,
    inf: values.filter((v) => Math.abs(v) === Number.POSITIVE_INFINITY).length,
    overflow,
  };
}

/** Counts exactly, moments to 1e-9 of the size of what was summed. */
function expectClose(found: StatisticsSummary, expected: StatisticsSummary): void {
  const { count, rows, max_abs, nan, inf, overflow } = expected;
  expect(found).toMatchObject({ count, rows, max_abs, nan, inf, overflow });
  const size = Math.sqrt(expected.variance + expected.mean ** 2);
  expect(Math.abs(found.mean - expected.mean)).toBeLessThanOrEqual(1e-9 * size);
  expect(Math.abs(found.variance - expected.variance)).toBeLessThanOrEqual(1e-9 * size ** 2);
  expect(Math.abs(found.mean_norm - expected.mean_norm)).toBeLessThanOrEqual(1e-9 * expected.mean_norm);
}

const anyValue = fc.oneof(
  { weight: 8, arbitrary: fc.float({ noNaN: true, noDefaultInfinity: true }) },
  { weight: 8, arbitrary: fc.float({ min: 999, max: 1001, noNaN: true }) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1e38, 65_520),
  },
);
const rowsArbitrary = fc.integer({ min: 1, max: 5 }).chain((width) =>
  fc.record({
    width: fc.constant(width),
    rows: fc.array(fc.array(anyValue, { minLength: width, maxLength: width }), { maxLength: 24 }),
    dtype: fc.constantFrom<FloatDType>("float32", "bfloat16", "float16"),
    /** After which rows a new batch begins, and a new shard. */
    batches: fc.array(fc.boolean(), { minLength: 24, maxLength: 24 }),
    shards: fc.array(fc.boolean(), { minLength: 24, maxLength: 24 }),
  }),
);

function bytesOf(rows: readonly (readonly number[])[]): Uint8Array {
  return new Uint8Array(Float32Array.from(rows.flat()).buffer);
}

/** The values as they are stored. */
function stored(data: Uint8Array, dtype: FloatDType): number[] {
  const wide = (pattern: number) =>
    dtype === "bfloat16"
      ? (new Float32Array(Uint32Array.of(pattern << 16).buffer)[0] ?? 0)
      : halfToNumber(pattern);
  return dtype === "float32"
    ? [...new Float32Array(data.slice().buffer)]
    : [...new Uint16Array(data.slice().buffer)].map(wide);
}

function halfToNumber(pattern: number): number {
  const sign = pattern & 0x8000 ? -1 : 1;
  const [exponent, fraction] = [(pattern >>> 10) & 31, pattern & 1023];
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (exponent === 0 ? fraction : 1024 + fraction) * 2 ** (Math.max(exponent, 1) - 25);
}

function cutAt<T>(items: readonly T[], cuts: readonly boolean[]): T[][] {
  const pieces: T[][] = [[]];
  for (const [i, item] of items.entries()) {
    if (cuts[i]) pieces.push([]);
    pieces.at(-1)?.push(item);
  }
  return pieces;
}

it("any cut into batches and shards gives the moments of all values, and counts what is not finite", () => {
  fc.assert(
    fc.property(rowsArbitrary, ({ width, rows, dtype, batches, shards }) => {
      const all = encodeRows(bytesOf(rows), "float32", dtype);
      const values = stored(all.data, dtype);
      const finite = rows.flat().map((v) => Number.isFinite(v));
      const overflow =
        dtype === "float16" ? values.filter((v, i) => !Number.isFinite(v) && finite[i]).length : 0;
      const expected = plainly(values, width, overflow);
      expect(all.overflow).toBe(overflow);

      const entries = cutAt(rows, shards).map((shard) => {
        const statistics = new Statistics();
        for (const batch of cutAt(shard, batches)) {
          const encoded = encodeRows(bytesOf(batch), "float32", dtype);
          statistics.update(encoded.data, dtype, width, encoded.overflow);
        }
        return statistics.toJSON();
      });
      for (const [i, entry] of entries.entries()) {
        const shard = cutAt(rows, shards)[i] ?? [];
        const data = encodeRows(bytesOf(shard), "float32", dtype);
        expectClose(entry, plainly(stored(data.data, dtype), width, data.overflow));
      }
      expectClose(entries.reduce(mergeEntries), expected);
    }),
    { numRuns: 300 },
  );
});
