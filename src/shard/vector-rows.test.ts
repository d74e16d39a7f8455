// Vectors against the loops, to the last bit: every 16-bit pattern, float32 of every exponent, and rows of any width.

import { expect, it } from "vitest";
import type { FloatDType } from "../base/dtype.js";
import { encodeValues } from "./encode.js";
import { sumRows } from "./row-sums.js";
import { vectorRows } from "./vector-rows.js";

const vectors = vectorRows();

/** float32 of bits that are spread over all that there are, and the neighbours of all that rounding and limits turn on. */
function spreadFloats(): Float32Array {
  const edges = [0, 0x7f7fffff, 0x7f800000, 0x7fc00000, 0x38800000, 0x47800000, 0x477fe000, 0x477ff000];
  const patterns = Array.from({ length: 65_536 }, (_, p) =>
    [0, 0x7fff, 0x8000, 0x8001].map((low) => p * 65_536 + low),
  );
  const halves = Array.from({ length: 0x7c00 }, (_, p) =>
    [-1, 0, 1].map((by) => 0x38000000 + p * 8192 + 4096 + by),
  );
  const around = edges.flatMap((edge) => [-2, -1, 0, 1, 2].flatMap((by) => [edge + by, edge + by + 2 ** 31]));
  let state = 1;
  const any = Array.from({ length: 200_003 }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state;
  });
  return new Float32Array(Uint32Array.from([...patterns, ...halves, around, any].flat()).buffer);
}

type Encoded = ReturnType<typeof encodeValues>;
function expectSame(found: Encoded | undefined, expected: Encoded): void {
  expect(Buffer.compare(bytesOf(found?.patterns), bytesOf(expected.patterns))).toBe(0);
  expect(found?.overflow).toBe(expected.overflow);
}

function bytesOf({ buffer, byteOffset, byteLength }: ArrayBufferView = new Uint16Array(1)): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

it.each(["bfloat16", "float16"] as const)(
  "%s: the same patterns, and as many that became infinite",
  (dtype) => {
    const values = spreadFloats();
    expectSame(vectors?.encode(values, dtype), encodeValues(values, dtype));
    for (let length = 0; length < 9; length++) {
      const some = values.subarray(70_000, 70_000 + length);
      expectSame(vectors?.encode(some, dtype), encodeValues(some, dtype));
    }
  },
);

/** Row, sum, sum of squares and largest size of each; of a row that is not finite only that it is not. */
function collect(sum: typeof sumRows, data: Uint8Array, dtype: FloatDType, width: number): Float64Array {
  const all: number[] = [];
  sum(data, dtype, width, (row, { sum, squares, max }) => {
    if (Number.isFinite(squares)) all.push(row, sum, squares, max);
    else all.push(row, -1);
  });
  return Float64Array.from(all);
}

it.each(["float32", "bfloat16", "float16"] as const)("%s: the same sums of rows", (dtype) => {
  const floats = spreadFloats().filter((_, i) => i % 31 === 0);
  const finite = floats.filter((v) => Math.abs(v) < 60_000);
  const patterns = Uint16Array.from({ length: 65_536 }, (_, p) => p);
  for (const width of [1, 3, 4, 5, 7, 8, 31, 128, 896, 65_536, 70_000]) {
    const encoded = dtype === "float32" ? finite : encodeValues(finite, dtype).patterns;
    for (const values of [encoded, dtype === "float32" ? floats : patterns]) {
      const data = new Uint8Array(bytesOf(values.subarray(0, values.length - (values.length % width))));
      const found = collect((...all) => vectors?.sumRows(...all), data, dtype, width);
      const expected = collect(sumRows, data, dtype, width);
      expect(found.length).toBe(expected.length);
      expect(Buffer.compare(new Uint8Array(found.buffer), new Uint8Array(expected.buffer))).toBe(0);
    }
  }
});
