// Samples as flat arrays: each sample's numbers where its offsets say.

import { expect, it } from "vitest";
import type { Sample } from "./cut.js";
import { flattenSamples } from "./unit-samples.js";

function sampleOf(ids: readonly number[], changes: Partial<Sample> = {}): Sample {
  return {
    record: 0,
    part: 0,
    ids,
    flags: Uint8Array.from(ids, (id) => id + 100),
    positions: [ids.length - 1],
    segments: [0],
    info: "{}",
    preview: "",
    ...changes,
  };
}

const flatten = (samples: readonly Sample[]) =>
  flattenSamples({ samples, skipped: [], leftOut: [], count: samples.length }, "");

it("lays flags, places and segments beside their tokens", () => {
  const flat = flatten([sampleOf([1, 2, 3], { segments: [0, 2] }), sampleOf([4, 5], { segments: [0, 1] })]);
  expect([...flat.inputIds]).toEqual([1, 2, 3, 4, 5]);
  expect([...flat.inputOffsets]).toEqual([0, 3, 5]);
  expect([...flat.inputFlags]).toEqual([101, 102, 103, 104, 105]);
  expect([...flat.segmentOffsets]).toEqual([0, 2, 3, 4, 5]);
  expect([...flat.positions]).toEqual([2, 1]);
  expect([...flat.positionOffsets]).toEqual([0, 1, 2]);
});

it("hashes where a sample ends, too: the same tokens in other samples are other tokens", () => {
  const hashes = [[[1, 2], [3]], [[1], [2, 3]], [[1, 2, 3]]].map(
    (all) => flatten(all.map((ids) => sampleOf(ids))).tokenSha256,
  );
  expect(new Set(hashes).size).toBe(3);
});
