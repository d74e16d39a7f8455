// Samples that hold together pass; each thing that could be wrong with them is planted, and seen.

import { expect, it } from "vitest";
import { checkSamples } from "./check-samples.js";
import type { UnitSamples } from "./samples.js";

const BOUNDS = { stream: 1, streams: 2, from: 4, to: 8, vocabulary: 10 };

/** Three samples of records 9 (two parts) and 15: records 4 and 7 of stream 1. */
function samplesOf(changes: Partial<UnitSamples> = {}): UnitSamples {
  return {
    count: 3,
    records: BigInt64Array.of(9n, 9n, 15n),
    parts: Int32Array.of(0, 1, 0),
    inputIds: Int32Array.of(1, 2, 3, 4, 5, 9),
    inputOffsets: Int32Array.of(0, 3, 4, 6),
    inputFlags: new Uint8Array(6),
    segmentOffsets: Int32Array.of(0, 3, 4, 6),
    positions: Int32Array.of(0, 2, 1),
    positionOffsets: Int32Array.of(0, 2, 2, 3),
    infos: ["{}", "{}", "{}"],
    previews: ["", "", ""],
    skipped: [],
    leftOut: [],
    unitSha256: "",
    tokenSha256: "",
    ...changes,
  };
}

it("passes what is right", () => {
  checkSamples(samplesOf(), BOUNDS);
  checkSamples(samplesOf({ segmentOffsets: Int32Array.of(0, 2, 3, 4, 6) }), BOUNDS);
});

const planted: [string, Partial<UnitSamples>, string][] = [
  ["a sample of another stream", { records: BigInt64Array.of(9n, 9n, 14n) }, "record 14"],
  ["a sample of the next unit", { records: BigInt64Array.of(9n, 9n, 17n) }, "record 17"],
  ["a sample of the unit before", { records: BigInt64Array.of(7n, 9n, 15n) }, "record 7"],
  ["a sample twice", { parts: Int32Array.of(0, 0, 0) }, "part 0 of record 9"],
  ["samples out of order", { records: BigInt64Array.of(15n, 9n, 9n) }, "record 9"],
  ["a place beyond the sample", { positions: Int32Array.of(0, 3, 1) }, "place 3"],
  ["a place twice", { positions: Int32Array.of(0, 0, 1) }, "place 0 after 0"],
  ["offsets that go back", { inputOffsets: Int32Array.of(0, 4, 3, 6) }, "input offset 2 is 3"],
  ["offsets that end early", { positionOffsets: Int32Array.of(0, 2, 2, 2) }, "the last of the position"],
  ["a sample without a token", { inputOffsets: Int32Array.of(0, 3, 3, 6) }, "sample 1 has no token"],
  ["a flag too few", { inputFlags: new Uint8Array(5) }, "token flags: 5"],
  ["an info too few", { infos: ["{}"] }, "infos: 1"],
  ["a part too few", { parts: Int32Array.of(0, 1) }, "parts: 2"],
];
it.each(planted)("sees %s", (_, changes, message) => {
  const check = () => checkSamples(samplesOf(changes), BOUNDS);
  expect(check).toThrow(expect.objectContaining({ kind: "bug", message: expect.stringContaining(message) }));
});

it.each([10, -1])("token id %i, from another model's tokenizer, is the user's to put right", (id) => {
  const check = () => checkSamples(samplesOf({ inputIds: Int32Array.of(1, 2, 3, 4, 5, id) }), BOUNDS);
  expect(check).toThrow(expect.objectContaining({ kind: "config" }));
});
