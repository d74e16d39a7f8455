import fc from "fast-check";
import { expect, it } from "vitest";
import { walkOf } from "./claims.js";
import type { Commit, StatisticsEntry } from "./commit.js";
import { mergeStatistics } from "./merge-statistics.js";
import { Summaries } from "./summaries.js";

const PER_SHARD = 10;

function commitOf(stream: number, unit: number): Commit {
  const value = Math.sin(stream * 1000 + unit + 1);
  const entry: StatisticsEntry = {
    count: 100 + unit,
    rows: 10,
    mean: value,
    variance: Math.abs(value) + 1,
    mean_norm: 3,
    max_abs: Math.abs(value),
    nan: 0,
    inf: 0,
    overflow: 0,
  };
  return {
    format: "sluice-commit-1",
    run: "r",
    stream,
    unit,
    data: `shard_${unit}.safetensors`,
    size: 1000 + unit,
    sha256: "0".repeat(64),
    crc32c: "00000000",
    records: [unit * PER_SHARD, (unit + 1) * PER_SHARD],
    samples: 10,
    rows: 20,
    tokens: 30,
    tokens_computed: 30,
    unit_sha256: "0".repeat(64),
    token_sha256: "0".repeat(64),
    skipped: [],
    left_out: [],
    tensors: {},
    statistics: { "blocks.0.hook_resid_post": entry },
    execution: {},
    by: { attempt: "a", worker: "w", worker_id: 0, started: "", finished: "" },
  };
}

it("folds statistics in the order of the shards, whatever the order in which commits are read", () => {
  const names = fc.integer({ min: 1, max: 12 }).chain((count) =>
    fc.shuffledSubarray(
      Array.from({ length: 2 * count }, (_, i) => [i % 2, Math.floor(i / 2)] as const),
      { minLength: 2 * count },
    ),
  );
  fc.assert(
    fc.property(names, (order) => {
      const summaries = new Summaries(2);
      for (const [stream, unit] of order) {
        summaries.add(commitOf(stream, unit));
        for (const next of summaries.toFold(stream)) summaries.add(commitOf(stream, next.index));
      }
      for (const stream of [0, 1]) {
        const expected = {};
        for (let unit = 0; unit < order.length / 2; unit++)
          mergeStatistics(expected, commitOf(stream, unit).statistics);
        expect(summaries.statistics(stream)).toEqual({
          records: (order.length / 2) * PER_SHARD,
          tensors: expected,
        });
        expect(summaries.of(stream).map((s) => s.unit)).toEqual(
          Array.from({ length: order.length / 2 }, (_, i) => i),
        );
      }
    }),
  );
});

it("has statistics of the complete prefix only", () => {
  const summaries = new Summaries(1);
  summaries.add(commitOf(0, 0));
  summaries.add(commitOf(0, 2));
  expect(summaries.statistics(0).records).toBe(PER_SHARD);
  expect([...summaries.toFold(0)]).toEqual([]);
  summaries.add(commitOf(0, 1));
  expect([...summaries.toFold(0)]).toEqual([{ stream: 0, index: 2, from: 2 * PER_SHARD, to: 3 * PER_SHARD }]);
});

it("walks over every unit once, each worker in an order of its own", () => {
  fc.assert(
    fc.property(fc.string(), fc.integer({ min: 0, max: 500 }), (key, count) => {
      expect([...walkOf(key, count)].sort((a, b) => a - b)).toEqual(
        Array.from({ length: count }, (_, i) => i),
      );
    }),
  );
  const firsts = Array.from({ length: 64 }, (_, worker) =>
    [...walkOf(`worker ${worker}`, 997)].slice(0, 4).join(),
  );
  expect(new Set(firsts).size).toBe(64);
});
