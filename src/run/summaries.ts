// What a worker remembers of commits: a few numbers each, so that a run of 100,000 shards fits into tens of MB. Statistics are
// folded in the order of the shards as soon as all before them are there; those of later shards are read again in their turn.

import type { Unit } from "../plan/unit.js";
import type { Commit, StatisticsEntry } from "./commit.js";
import { mergeStatistics } from "./merge-statistics.js";

/** One commit in short. */
export interface CommitSummary {
  readonly stream: number;
  readonly unit: number;
  /** Records of the stream, [from, to). */
  readonly from: number;
  readonly to: number;
  /** As in the commit: relative to `tpu_N/`; null where the unit has no data. */
  readonly data: string | null;
  /** Bytes. */
  readonly size: number;
  readonly sha256: string | null;
  readonly samples: number;
  readonly rows: number;
  /** Tokens the model read. */
  readonly tokens: number;
  readonly skipped: number;
  readonly leftOut: number;
  /** Where the first tensor begins, and bytes of sample_info: with the counts above, every tensor's offset follows. 0 without tensors. */
  readonly dataStart: number;
  readonly infoBytes: number;
}

/** The statistics of the first records of a stream. */
export interface FoldedStatistics {
  /** They cover records [0, records) of the stream. */
  readonly records: number;
  /** By tensor. */
  readonly tensors: Readonly<Record<string, StatisticsEntry>>;
}

/** Summaries of all commits that have been read. */
export class Summaries {
  readonly #streams: StreamSummaries[];

  /** @param streams how many the run has. */
  constructor(streams: number) {
    this.#streams = Array.from({ length: streams }, () => new StreamSummaries());
  }

  add(commit: Commit): void {
    this.#streams[commit.stream]?.add(commit);
  }

  has(unit: Unit): boolean {
    return this.#streams[unit.stream]?.units[unit.index] !== undefined;
  }

  /** Those of one stream, in order. */
  of(stream: number): CommitSummary[] {
    return (this.#streams[stream]?.units ?? []).filter((summary) => summary !== undefined);
  }

  /** All of them, stream by stream, in order. */
  *all(): Generator<CommitSummary> {
    for (const stream of this.#streams.keys()) yield* this.of(stream);
  }

  statistics(stream: number): FoldedStatistics {
    return this.#streams[stream]?.folded ?? { records: 0, tensors: {} };
  }

  /** The units of a stream whose commits were summarised out of turn, and are now the next to be folded: add them again, in order. */
  *toFold(stream: number): Generator<Unit> {
    const { units = [], next = 0 } = this.#streams[stream] ?? {};
    for (let index = next, summary = units[index]; summary; summary = units[++index])
      yield { stream, index, from: summary.from, to: summary.to };
  }
}

class StreamSummaries {
  readonly units: (CommitSummary | undefined)[] = [];
  folded: FoldedStatistics = { records: 0, tensors: {} };
  /** The unit whose statistics are to be folded next. */
  next = 0;

  add(commit: Commit): void {
    this.units[commit.unit] ??= summarise(commit);
    if (commit.unit !== this.next) return;
    const tensors = { ...this.folded.tensors };
    mergeStatistics(tensors, commit.statistics);
    this.folded = { records: commit.records[1], tensors };
    this.next += 1;
  }
}

function summarise(commit: Commit): CommitSummary {
  const starts = Object.values(commit.tensors).map((tensor) => tensor.offset);
  return {
    stream: commit.stream,
    unit: commit.unit,
    from: commit.records[0],
    to: commit.records[1],
    data: commit.data,
    size: commit.size,
    sha256: commit.sha256,
    samples: commit.samples,
    rows: commit.rows,
    tokens: commit.tokens,
    skipped: commit.skipped.length,
    leftOut: commit.left_out.length,
    dataStart: starts.length === 0 ? 0 : Math.min(...starts),
    infoBytes: commit.tensors.sample_info?.length ?? 0,
  };
}
