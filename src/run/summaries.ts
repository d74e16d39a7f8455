// What a worker remembers of commits: a few numbers each, so that a run of 100,000 shards fits into tens of MB. Statistics are
// folded in the order of the shards as soon as all before them are there; those of some later shards are kept until then, others are read
// again in their turn.

import { z } from "zod";
import type { Unit } from "../plan/unit.js";
import type { Commit, StatisticsEntry } from "./commit.js";
import { mergeStatistics } from "./merge-statistics.js";

/** Tensors' statistics that wait for those of earlier shards, at most: some 200 bytes each. */
const MOST_LATER = 100_000;

const count = z.number().int().nonnegative();

/** One commit in short. */
export const commitSummarySchema = z.object({
  stream: count,
  unit: count,
  /** Records of the stream, [from, to). */
  from: count,
  to: count,
  /** As in the commit: relative to `tpu_N/`; null where the unit has no data. */
  data: z.string().nullable(),
  /** Bytes. */
  size: count,
  sha256: z.string().nullable(),
  samples: count,
  rows: count,
  /** Tokens the model read. */
  tokens: count,
  skipped: count,
  leftOut: count,
  /** Where the first tensor begins, and bytes of sample_info: with the counts above, every tensor's offset follows. 0 without tensors. */
  dataStart: count,
  infoBytes: count,
});

/** See {@link commitSummarySchema}. */
export type CommitSummary = Readonly<z.infer<typeof commitSummarySchema>>;

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
  #tensors: Commit["tensors"] | undefined;

  /** @param streams how many the run has. */
  constructor(streams: number) {
    const room = new Room();
    this.#streams = Array.from({ length: streams }, () => new StreamSummaries(room));
  }

  add(commit: Commit): void {
    this.#streams[commit.stream]?.add(commit);
    if (commit.data !== null) this.#tensors ??= commit.tensors;
  }

  /** The tensors of some shard, for what is the same in all of them; undefined where no commit with data has been read. */
  get tensors(): Commit["tensors"] | undefined {
    return this.#tensors;
  }

  /** Adds what is known of a commit that was not read; its statistics are not folded. */
  addSummary(summary: CommitSummary): void {
    const stream = this.#streams[summary.stream];
    if (stream) stream.units[summary.unit] ??= summary;
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

  /**
   * The units of a stream that were summarised out of turn, are now the next to be folded, and whose statistics were not kept: add their
   * commits again, in order.
   */
  *toFold(stream: number): Generator<Unit> {
    const { units = [], next = 0, later } = this.#streams[stream] ?? {};
    for (let index = next, summary = units[index]; summary; summary = units[++index])
      if (!later?.has(index)) yield { stream, index, from: summary.from, to: summary.to };
  }
}

class StreamSummaries {
  readonly units: (CommitSummary | undefined)[] = [];
  folded: FoldedStatistics = { records: 0, tensors: {} };
  /** The unit whose statistics are to be folded next. */
  next = 0;
  /** Statistics of units that are to be folded later. */
  readonly later = new Map<number, Commit["statistics"]>();
  readonly #room: Room;

  constructor(room: Room) {
    this.#room = room;
  }

  add(commit: Commit): void {
    const { unit, statistics } = commit;
    this.units[unit] ??= summarise(commit);
    if (unit > this.next && !this.later.has(unit) && this.#room.take(statistics))
      this.later.set(unit, statistics);
    if (unit !== this.next) return;
    const tensors = { ...this.folded.tensors };
    let records = this.folded.records;
    for (let fold: Commit["statistics"] | undefined = statistics; fold; fold = this.later.get(this.next)) {
      mergeStatistics(tensors, fold);
      records = this.units[this.next]?.to ?? records;
      if (this.later.delete(this.next)) this.#room.give(fold);
      this.next += 1;
    }
    this.folded = { records, tensors };
  }
}

/** Room for statistics that cannot be folded yet, of all streams together. */
class Room {
  #left = MOST_LATER;

  /** False where there is none left. */
  take(statistics: Commit["statistics"]): boolean {
    const entries = Object.keys(statistics).length;
    if (entries > this.#left) return false;
    this.#left -= entries;
    return true;
  }

  give(statistics: Commit["statistics"]): void {
    this.#left += Object.keys(statistics).length;
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
