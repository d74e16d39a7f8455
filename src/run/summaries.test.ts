import fc from "fast-check";
import { expect, it } from "vitest";
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
  expect([...summaries.toFold(0)]).toEqual([]);
  expect(summaries.statistics(0).records).toBe(3 * PER_SHARD);
});

it("reads again what was summarised without its statistics, and nothing else", () => {
  const whole = new Summaries(1);
  for (let unit = 0; unit < 5; unit++) whole.add(commitOf(0, unit));
  const summaries = new Summaries(1);
  const [first, , third] = whole.of(0);
  if (!first || !third) throw new Error("nothing was summarised");
  summaries.addSummary(first);
  summaries.add(commitOf(0, 1));
  summaries.addSummary(third);
  summaries.add(commitOf(0, 4));
  summaries.add(commitOf(0, 3));
  const again = [...summaries.toFold(0)].map(({ index }) => index);
  expect(again).toEqual([0, 2]);
  for (const unit of again) summaries.add(commitOf(0, unit));
  expect(summaries.statistics(0)).toEqual(whole.statistics(0));
});

it("keeps a bounded number of statistics that cannot be folded yet", () => {
  const summaries = new Summaries(1);
  const entries = commitOf(0, 0).statistics;
  const [entry] = Object.values(entries);
  if (!entry) throw new Error("a commit without statistics");
  const wide = Object.fromEntries(Array.from({ length: 60_000 }, (_, i) => [`t${i}`, entry]));
  for (const unit of [1, 2]) summaries.add({ ...commitOf(0, unit), statistics: wide });
  summaries.add({ ...commitOf(0, 0), statistics: wide });
  expect([...summaries.toFold(0)].map(({ index }) => index)).toEqual([2]);
});
