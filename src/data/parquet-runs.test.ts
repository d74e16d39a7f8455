// Runs and bit-packed groups one after the other, as writers leave them.

import { expect, it } from "vitest";
import { readRuns } from "./parquet-runs.js";

const readerOf = (...bytes: number[]) => ({ view: new DataView(Uint8Array.from(bytes).buffer), offset: 0 });

it("reads a last group of which only the bytes of the values left are there", () => {
  // A run of eight sevens, then a group of eight values of which three are left.
  const reader = readerOf(8 << 1, 7, (1 << 1) | 1, 1, 2, 3);
  expect([...readRuns(reader, 8, 11, 6)]).toEqual([7, 7, 7, 7, 7, 7, 7, 7, 1, 2, 3]);
  expect(reader.offset).toBe(6);
  expect(() => readRuns(readerOf(8 << 1, 7, (1 << 1) | 1, 1, 2), 8, 11, 5)).toThrow(/outside of its page/);
});

it("refuses a run of more values than are left", () => {
  expect(() => readRuns(readerOf(8 << 1, 7), 8, 7, 2)).toThrow(/a run of 8 values where 7 are left/);
});
