// What is inside a run or one shard: tensors, samples, the text of a sample, statistics, NaN and Inf.

import type { Commit, StatisticsEntry } from "../run/commit.js";
import { mergeStatistics } from "../run/merge-statistics.js";
import type { ReadableRun } from "./open-run.js";
import { readInt32, readInt64, readTensor } from "./read-tensor.js";
import { openTokenizerFromRun } from "./run-tokenizer.js";

/** The inside of one or more shards of a run. */
export interface Inspection {
  readonly run: string;
  readonly shards: number;
  readonly samples: number;
  readonly rows: number;
  readonly tokens: number;
  readonly bytes: number;
  readonly tensors: readonly {
    readonly name: string;
    readonly dtype: string;
    readonly shape: readonly number[];
  }[];
  readonly statistics: Readonly<Record<string, StatisticsEntry>>;
  /** The first samples of the first shard. */
  readonly first: readonly {
    readonly record: number;
    readonly part: number;
    readonly tokens: number;
    readonly info: unknown;
    readonly text: string | null;
  }[];
}

/** Looks into the commits given; of the first with data, into its first samples. */
export async function inspectCommits(
  readable: ReadableRun,
  commits: AsyncIterable<Commit>,
  samples: number,
): Promise<Inspection> {
  const total = { shards: 0, samples: 0, rows: 0, tokens: 0, bytes: 0 };
  const statistics: Record<string, StatisticsEntry> = {};
  let first: Commit | undefined;
  for await (const commit of commits) {
    if (commit.data !== null) {
      first ??= commit;
      total.shards += 1;
    }
    total.samples += commit.samples;
    total.rows += commit.rows;
    total.tokens += commit.tokens;
    total.bytes += commit.size;
    mergeStatistics(statistics, commit.statistics);
  }
  return {
    run: readable.run.run,
    ...total,
    tensors: Object.entries(first?.tensors ?? {}).map(([name, { dtype, shape }]) => ({ name, dtype, shape })),
    statistics,
    first: first?.tensors.sample_ids ? await readFirst(readable, first, samples) : [],
  };
}

async function readFirst(readable: ReadableRun, commit: Commit, count: number): Promise<Inspection["first"]> {
  const { store } = readable;
  const tokenizer = await openTokenizerFromRun(store);
  const ids = await readInt64(store, commit, "sample_ids");
  const parts = await readInt32(store, commit, "sample_parts");
  const tokens = await readInt32(store, commit, "input_ids");
  const offsets = await readInt64(store, commit, "input_offsets");
  const infos = await readTensor(store, commit, "sample_info");
  const infoOffsets = await readInt64(store, commit, "sample_info_offsets");
  return ids.slice(0, count).map((record, i) => {
    const input = [...tokens.subarray(offsets[i], offsets[i + 1])];
    const info: unknown = JSON.parse(
      Buffer.from(infos.subarray(infoOffsets[i], infoOffsets[i + 1])).toString("utf8"),
    );
    return {
      record,
      part: parts[i] ?? 0,
      tokens: input.length,
      info,
      text: tokenizer?.decode(input) ?? null,
    };
  });
}
