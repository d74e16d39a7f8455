// What is inside a run or one shard: tensors, statistics of every one, where NaN and infinite values are, and some samples
// with their text and the norms of their rows.

import { SluiceError } from "../base/errors.js";
import type { Commit, NonFiniteEntry, StatisticsEntry } from "../run/commit.js";
import { mergeStatistics } from "../run/merge-statistics.js";
import { mergeNonFinite } from "../run/non-finite.js";
import { findSamples, openShardSamples, type ShardSamples, type WantedSample } from "./find-samples.js";
import type { ReadableRun } from "./open-run.js";
import { readNorms } from "./row-norms.js";
import { type Decoder, openTokenizerFromRun } from "./run-tokenizer.js";

/** One stored row of a sample. */
export interface InspectedRow {
  /** Its number in the shard. */
  readonly row: number;
  /** Its place in the input, and the token there; null for rows of all tokens together (mean, max). */
  readonly position: number | null;
  readonly token_id: number | null;
  /** The token's text; null where the run has no tokenizer. */
  readonly token: string | null;
  /** As `token_flags`. */
  readonly flags: number;
  /** Euclidean norms by tensor, of those asked for; null where a value is not finite. */
  readonly norms: Readonly<Record<string, number | null>>;
}

/** One sample. */
export interface InspectedSample {
  readonly record: number;
  readonly part: number;
  readonly tokens: number;
  readonly info: unknown;
  readonly text: string | null;
  /** Rows stored, and the first and last of them. */
  readonly rows_stored: number;
  readonly rows: readonly InspectedRow[];
}

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
  /** NaN and infinite values by tensor: in how many samples, and the first of them. */
  readonly non_finite: Readonly<Record<string, NonFiniteEntry>>;
  /** The samples asked for; else the first ones of the first shard. None of a pkl.gz run, which has no index. */
  readonly first: readonly InspectedSample[];
}

/** What to show of samples. */
export interface InspectOptions {
  /** Samples at most. */
  readonly samples: number;
  /** One record's; undefined for the first ones. */
  readonly wanted: WantedSample | undefined;
  /** Tensors whose rows' norms are shown. */
  readonly taps: readonly string[];
  /** Rows of a sample at most: the first and the last ones. */
  readonly rows: number;
}

/**
 * Looks into the commits given, and into some of their samples.
 * @throws SluiceError `data` where the sample wanted is not there, or a tensor is corrupt; `usage` where a pkl.gz run is asked for one.
 */
export async function inspectCommits(
  readable: ReadableRun,
  commits: AsyncIterable<Commit>,
  options: InspectOptions,
): Promise<Inspection> {
  const total = { shards: 0, samples: 0, rows: 0, tokens: 0, bytes: 0 };
  const statistics: Record<string, StatisticsEntry> = {};
  const nonFinite: Record<string, NonFiniteEntry> = {};
  let first: Commit | undefined;
  if (options.wanted && readable.run.identity.shard_format !== "safetensors")
    throw new SluiceError("usage", "a pkl.gz shard has no index to find a sample in", {
      expected: "a safetensors run",
    });
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
    mergeNonFinite(nonFinite, commit.non_finite);
  }
  return {
    run: readable.run.run,
    ...total,
    tensors: Object.entries(first?.tensors ?? {}).map(([name, { dtype, shape }]) => ({ name, dtype, shape })),
    statistics,
    non_finite: nonFinite,
    first: first?.tensors.sample_ids ? await readSamples(readable, first, options) : [],
  };
}

async function readSamples(
  readable: ReadableRun,
  first: Commit,
  options: InspectOptions,
): Promise<InspectedSample[]> {
  const { samples: count, wanted } = options;
  const tokenizer = await openTokenizerFromRun(readable.store);
  const found = wanted
    ? await findSamples(readable, wanted)
    : { shard: await openShardSamples(readable.store, first), numbers: [...Array(first.samples).keys()] };
  const samples: InspectedSample[] = [];
  for (const number of found.numbers.slice(0, count))
    samples.push(await readSample(readable, found.shard, number, tokenizer, options));
  return samples;
}

async function readSample(
  { store }: ReadableRun,
  shard: ShardSamples,
  number: number,
  tokenizer: Decoder | null,
  { taps, rows: limit }: InspectOptions,
): Promise<InspectedSample> {
  const [start = 0, end = 0] = [shard.rowOffsets[number], shard.rowOffsets[number + 1]];
  // Two thirds from the beginning, where the text begins; the rest from the end.
  const head = end - start <= limit ? end - start : Math.ceil((limit * 2) / 3);
  const ranges = [
    { from: start, to: start + head },
    { from: end - Math.min(end - start - head, limit - head), to: end },
  ];
  const rows: InspectedRow[] = [];
  for (const { from, to } of ranges) {
    if (to <= from) continue;
    const norms = await Promise.all(taps.map((tap) => readNorms(store, shard.commit, tap, from, to)));
    for (let row = from; row < to; row++) {
      const position = shard.positions[row] ?? -1;
      const id = shard.tokenIds[row] ?? -1;
      rows.push({
        row,
        position: position < 0 ? null : position,
        token_id: id < 0 ? null : id,
        token: id < 0 ? null : (tokenizer?.decode([id]) ?? null),
        flags: shard.flags[row] ?? 0,
        norms: Object.fromEntries(taps.map((tap, t) => [tap, norms[t]?.[row - from] ?? null])),
      });
    }
  }
  const ids = [...shard.inputIds.subarray(shard.inputOffsets[number], shard.inputOffsets[number + 1])];
  return {
    record: shard.records[number] ?? 0,
    part: shard.parts[number] ?? 0,
    tokens: ids.length,
    info: shard.info(number),
    text: tokenizer?.decode(ids) ?? null,
    rows_stored: end - start,
    rows,
  };
}
