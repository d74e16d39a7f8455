// The two 16-bit formats against exact arithmetic: every pattern, and every midpoint between two of them with its neighbours.
// A 16-bit value, and the middle of two, is a float32 without rounding.

import { expect, it } from "vitest";
import { decodeBfloat16, decodeFloat16, encodeBfloat16, encodeFloat16 } from "./float16.js";

/** IEEE 754, 3.4: the value of a pattern with so many bits of exponent and fraction, as float64. */
function exactValue(pattern: number, exponentBits: number, fractionBits: number): number {
  const sign = pattern & 0x8000 ? -1 : 1;
  const exponent = (pattern & 0x7fff) >>> fractionBits;
  const fraction = pattern & (2 ** fractionBits - 1);
  const bias = 2 ** (exponentBits - 1) - 1;
  if (exponent === 2 ** exponentBits - 1)
    return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  const significand = exponent === 0 ? fraction : fraction + 2 ** fractionBits;
  return sign * significand * 2 ** (Math.max(exponent, 1) - bias - fractionBits);
}

/** The float32 next to a positive one. */
function neighbour(value: number, step: 1 | -1): number {
  const bits = new Uint32Array(Float32Array.of(value).buffer);
  bits[0] = (bits[0] ?? 0) + step;
  return new Float32Array(bits.buffer)[0] ?? Number.NaN;
}

const FORMATS = [
  {
    name: "float16",
    exponent: 5,
    fraction: 10,
    encode: encodeFloat16,
    decode: decodeFloat16,
    infinity: 0x7c00,
  },
  {
    name: "bfloat16",
    exponent: 8,
    fraction: 7,
    encode: encodeBfloat16,
    decode: decodeBfloat16,
    infinity: 0x7f80,
  },
] as const;

it.each(FORMATS)("$name: all 65,536 patterns are decoded exactly, and come back", (format) => {
  const patterns = Uint16Array.from({ length: 65_536 }, (_, i) => i);
  const values = format.decode(patterns);
  const back = format.encode(values);
  const wrong = patterns.filter((pattern) => {
    const expected = exactValue(pattern, format.exponent, format.fraction);
    if (!Object.is(values[pattern], expected)) return true;
    return Number.isNaN(expected)
      ? ((back[pattern] ?? 0) & 0x7fff) <= format.infinity
      : back[pattern] !== pattern;
  });
  expect([...wrong]).toEqual([]);
});

it.each(FORMATS)("$name: rounds to nearest, ties to even, up to infinity", (format) => {
  const middles: number[] = [];
  const expected: number[] = [];
  for (let pattern = 0; pattern < format.infinity; pattern++) {
    const low = exactValue(pattern, format.exponent, format.fraction);
    // What would follow the largest value, were there no infinity, decides what becomes infinite.
    const step = low - exactValue(Math.max(pattern - 1, 0), format.exponent, format.fraction);
    const isLast = pattern + 1 === format.infinity;
    const high = isLast ? low + step : exactValue(pattern + 1, format.exponent, format.fraction);
    const middle = low + (high - low) / 2;
    if (Math.fround(middle) !== middle) throw new Error(`${middle} is no float32`);
    const even = pattern % 2 === 0 ? pattern : pattern + 1;
    middles.push(neighbour(middle, -1), middle, neighbour(middle, 1));
    expected.push(pattern, even, pattern + 1);
  }
  expect(format.encode(Float32Array.from(middles))).toEqual(Uint16Array.from(expected));
  const negative = format.encode(Float32Array.from(middles, (middle) => -middle));
  expect(negative).toEqual(Uint16Array.from(expected, (pattern) => pattern | 0x8000));
});

it.each(FORMATS)("$name: the ends of float32, and every kind of NaN", (format) => {
  const bits = Uint32Array.of(0x00000001, 0x80000001, 0x7f7fffff, 0xff7fffff, 0x7f800000, 0xff800000);
  const { infinity } = format;
  expect([...format.encode(new Float32Array(bits.buffer))]).toEqual([
    0,
    0x8000,
    infinity,
    infinity | 0x8000,
    infinity,
    infinity | 0x8000,
  ]);
  const nans = Uint32Array.of(0x7f800001, 0x7fc00000, 0x7fffffff, 0xff800001, 0xffffffff, 0x7f80ffff);
  for (const pattern of format.encode(new Float32Array(nans.buffer)))
    expect(pattern & 0x7fff).toBeGreaterThan(infinity);
});
