import { expect, it } from "vitest";
import {
  estimateRun,
  guessRecords,
  type RecordSize,
  type RunShape,
  remainingBytes,
  storedBytes,
} from "./run-size.js";

const record: RecordSize = {
  weight: 1,
  bytes: 100,
  samples: 1,
  tokens: 30,
  rows: 20,
  infoBytes: 12,
  previewBytes: 50,
};
const shape: RunShape = {
  format: "safetensors",
  tensors: 3,
  rowBytes: 3 * 48 * 2,
  compressedShare: 1,
  samplesPerShard: 10,
};

it("counts what the contract's tensors hold", () => {
  // Rows of the activations; token_ids, positions, token_flags; input_ids; four offsets and ids of i64 and one of i32; the JSON.
  expect(storedBytes(record, shape)).toBe(20 * 288 + 20 * (4 + 4 + 1) + 30 * 4 + (4 * 8 + 4) + 12);
  expect(storedBytes({ ...record, samples: 0, tokens: 0, rows: 0, infoBytes: 0 }, shape)).toBe(0);
});

it("multiplies by the records, and adds what stands beside each shard", () => {
  const one = estimateRun([record], shape, 1000, 1);
  expect(one).toMatchObject({ records: 1000, samples: 1000, tokens: 30_000, shards: 100 });
  const data = 1000 * storedBytes(record, shape);
  expect(one.bytes).toBeGreaterThan(data + 100 * 4000);
  expect(one.bytes).toBeLessThan(data + 100 * 10_000);
  expect(estimateRun([record], shape, 1000, 7).shards).toBe(7 * 15);
  expect(estimateRun([record], shape, 3, 7).shards).toBe(3);
  const squeezed = estimateRun([record], { ...shape, compressedShare: 0.5 }, 1000, 1);
  expect(one.bytes - squeezed.bytes).toBe(data / 2);
});

it("weighs records by how many they stand for", () => {
  // Sampled at even bytes, a long record is met as often as its length is greater; its weight makes up for that.
  const short = { ...record, bytes: 100, weight: 1 / 100 };
  const long = { ...record, bytes: 900, weight: 1 / 900, tokens: 270, rows: 180, previewBytes: 0 };
  const sample = [short, ...Array.from({ length: 9 }, () => long)];
  expect(guessRecords(sample, 1_000_000)).toBe(2000);
  expect(guessRecords(sample, 1_000_000, 50)).toBe(50);
  expect(estimateRun(sample, shape, 2000, 1).tokens).toBe(1000 * 30 + 1000 * 270);
});

it("knows nothing of a dataset without records", () => {
  expect(guessRecords([], 1000)).toBe(0);
  expect(estimateRun([], shape, 0, 4)).toMatchObject({ samples: 0, shards: 0, bytes: 0 });
});

it("counts down with the commits", () => {
  const expected = estimateRun([record], shape, 1000, 1);
  expect(remainingBytes(expected, 0, 100)).toBe(expected.bytes);
  expect(remainingBytes(expected, 75, 100)).toBe(Math.round(expected.bytes / 4));
  expect(remainingBytes(expected, 100, 100)).toBe(0);
  expect(remainingBytes(expected, 0, 0)).toBe(0);
});
