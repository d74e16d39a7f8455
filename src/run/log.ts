// The log: a set of commits, one a unit, created once, in no order. A listing tells what may be skipped; that a commit
// is absent is only ever believed of its own name.

import { createHash } from "node:crypto";
import { crc32c } from "@node-rs/crc32";
import { formatCrc } from "../base/crc.js";
import { SluiceError } from "../base/errors.js";
import { mapAhead } from "../base/read-ahead.js";
import { type Unit, type UnitPlace, unitAt, unitCount, unitName } from "../plan/unit.js";
import { listInParallel, PAGE } from "../store/list-parallel.js";
import { isRemote, type Store, type Stored } from "../store/store.js";
import { type Commit, decodeCommit, encodeCommit } from "./commit.js";
import { CommitNotes, FEWEST_NOTED, type NotedCommit } from "./commit-notes.js";
import { decodeIndex } from "./derived.js";
import type { RunFile } from "./identity.js";
import { type CommitSummary, Summaries } from "./summaries.js";

/** The name of a commit: stream, and shard (unit + 1). */
export const COMMIT_NAME = /^tpu_(\d+)\/shard_(\d{4,})\.json$/;
const READS_AT_ONCE = 64;
/** What is listed to be larger is not read: a commit holds the reasons of all records of a unit that were skipped, and little else. */
const MAX_COMMIT_BYTES = 256_000_000;
/** Ranges into which the names of a whole run are cut, to be listed side by side; and units of one at least. */
const RANGES = 64;
const RANGE_UNITS = 1000;
/** Objects of a unit: its data and its commit. */
const NAMES_A_UNIT = 2;

/** The name of a unit's commit: `tpu_0/shard_0001.json`. */
export function commitName(unit: { readonly stream: number; readonly index: number }): string {
  return `${unitName(unit)}.json`;
}

/** The name of a commit's data object in the store; null where the unit has no data. */
export function dataName(commit: Commit): string | null {
  return commit.data === null ? null : `tpu_${commit.stream}/${commit.data}`;
}

/** A commit in short, and the version of its object. */
export type DescribedCommit = CommitSummary & { readonly version: string };

/** The commits of one run. */
export class CommitLog {
  readonly #store: Store;
  readonly #run: RunFile;
  readonly #runFile: { readonly size: number; readonly crc32c: string; readonly sha256: string };
  /** 1 where a unit's commit has been seen, by stream and unit. */
  readonly #seen: readonly Uint8Array[];
  /** 1 where the last listing had the unit's commit. */
  #listed: readonly Uint8Array[] = [];
  /** Versions of the commits by the last listing, and of those that this worker has made. */
  #versions: (string | undefined)[][] = [];
  readonly #foreign = new Set<string>();
  readonly #summaries: Summaries;
  /** What workers of one stream write down for each other. */
  readonly notes: CommitNotes;
  #committed = 0;
  #made = 0;
  /** Sizes of the data objects below `tpu_*`, as last listed; and what the listing says of their checksums, where that is wanted. */
  #sizes = new Map<string, number>();
  #sums = new Map<string, string>();
  #reading: Promise<unknown> = Promise.resolve();

  /** @param runFile the bytes of `run.json`, as read when the worker started. */
  constructor(store: Store, run: RunFile, runFile: Uint8Array) {
    const { streams, samples_per_shard: perShard } = { ...run.identity.dataset, ...run.identity };
    this.#store = store;
    this.#run = run;
    const sha256 = createHash("sha256").update(runFile).digest("hex");
    this.#runFile = { size: runFile.length, crc32c: formatCrc(crc32c(runFile)), sha256 };
    this.#seen = streams.map(({ records }) => new Uint8Array(unitCount(records, perShard)));
    this.#summaries = new Summaries(streams.length);
    this.notes = new CommitNotes(store);
  }

  /** How many units each stream has. */
  get unitCounts(): readonly number[] {
    return this.#seen.map((units) => units.length);
  }

  /** How many units the run has. */
  get unitTotal(): number {
    return this.#seen.reduce((sum, units) => sum + units.length, 0);
  }

  /** Whether each look at the log is a request, or more. */
  get isRemote(): boolean {
    return isRemote(this.#store);
  }

  /** How many commits this worker has made. */
  get made(): number {
    return this.#made;
  }

  /** How many units have a commit that has been seen. */
  get committed(): number {
    return this.#committed;
  }

  /** Every unit of the run, stream by stream. */
  *units(): Generator<Unit> {
    for (const stream of this.#seen.keys()) yield* this.unitsOf(stream);
  }

  /** The units of one stream, in order; none where the run has no such stream. */
  *unitsOf(stream: number): Generator<Unit> {
    for (let index = 0; index < (this.#seen[stream]?.length ?? 0); index++) yield this.unitAt(stream, index);
  }

  /** Null where the run has no such unit. */
  findUnit(stream: number, index: number): Unit | null {
    return index < (this.#seen[stream]?.length ?? 0) ? this.unitAt(stream, index) : null;
  }

  /** @throws RangeError where the run has no such unit. */
  unitAt(stream: number, index: number): Unit {
    const { dataset, samples_per_shard: perShard } = this.#run.identity;
    return unitAt(stream, index, dataset.streams[stream]?.records ?? 0, perShard);
  }

  /** Lists the run's folders: all that is there. @param keepSums of the data too, which a worker has no use for. */
  async refresh(keepSums = false): Promise<void> {
    const sizes = new Map<string, number>();
    const sums = new Map<string, string>();
    const listed = this.#seen.map((units) => new Uint8Array(units.length));
    const versions: (string | undefined)[][] = this.#seen.map(() => []);
    await listInParallel(
      this.#store,
      "tpu_",
      () => this.#boundaries(),
      ({ name, size, version, crc32c: sum }) => {
        const match = COMMIT_NAME.exec(name);
        const [stream, index] = [Number(match?.[1]), Number(match?.[2]) - 1];
        if (!match && this.notes.see(name, size)) return;
        if (!match && keepSums && sum !== undefined) sums.set(name, sum);
        if (!match) sizes.set(name, size);
        else if (size > MAX_COMMIT_BYTES) throw tooLarge(`${this.#store.uri}/${name}`, size);
        else if (!this.#note(stream, index, name)) this.#foreign.add(name);
        else {
          listed[stream]?.fill(1, index, index + 1);
          (versions[stream] ?? [])[index] = version;
        }
      },
    );
    this.#sizes = sizes;
    this.#sums = sums;
    this.#listed = listed;
    this.#versions = versions;
  }

  /**
   * Looks which of the open units somebody has committed since: with as few requests as there are. (In a folder a listing costs
   * nothing, and tells more.)
   * @param where only one stream; except units of which it need not be known now. @returns about how many requests that took.
   */
  async lookAtOpen(
    where: { readonly only?: number; readonly except?: (unit: Unit) => boolean } = {},
  ): Promise<number> {
    const { only, except } = where;
    const total = pagesOf(this.unitTotal);
    const wanted = [...this.#seen.keys()].filter((stream) => only === undefined || stream === only);
    const streams = wanted.map((stream) => ({
      stream,
      open: this.#openUnits(stream).filter((index) => !except?.(this.unitAt(stream, index))),
    }));
    const costs = streams.map(({ stream, open }) =>
      Math.min(open.length, pagesOf(this.#seen[stream]?.length ?? 0)),
    );
    const cost = costs.reduce((sum, one) => sum + one, 0);
    if (!this.isRemote || (only === undefined && cost >= total)) {
      await this.refresh();
      return total;
    }
    const looks = streams.flatMap(({ stream, open }, i): { stream: number; index?: number }[] =>
      open.length === costs[i] ? open.map((index) => ({ stream, index })) : [{ stream }],
    );
    const look = async ({ stream, index }: { stream: number; index?: number }) =>
      index === undefined ? this.#lookAtStream(stream) : this.isCommitted(this.unitAt(stream, index));
    for await (const _ of mapAhead(looks, READS_AT_ONCE, look));
    return cost;
  }

  async #lookAtStream(stream: number): Promise<void> {
    const boundaries = () => this.#boundaries(stream);
    await listInParallel(this.#store, `tpu_${stream}/`, boundaries, ({ name, size, version }) => {
      if (this.notes.see(name, size)) return;
      const match = COMMIT_NAME.exec(name);
      const index = Number(match?.[2]) - 1;
      if (!match || !this.#note(stream, index, name)) return;
      const versions = this.#versions[stream] ?? [];
      versions[index] = version;
      this.#versions[stream] = versions;
    });
  }

  #openUnits(stream: number): number[] {
    const units = this.#seen[stream] ?? new Uint8Array();
    const open: number[] = [];
    for (let index = units.indexOf(0); index >= 0; index = units.indexOf(0, index + 1)) open.push(index);
    return open;
  }

  /** Names of units that cut all (of one stream) into parts of like size. */
  #boundaries(only?: number): string[] {
    const names: string[] = [];
    const total = only === undefined ? this.unitTotal : (this.#seen[only]?.length ?? 0);
    const step = Math.max(RANGE_UNITS, Math.ceil(total / RANGES));
    let next = step;
    for (const [stream, units] of this.#seen.entries()) {
      if (only !== undefined && stream !== only) continue;
      for (; next < units.length; next += step) names.push(unitName({ stream, index: next }));
      next -= units.length;
    }
    return names;
  }

  /** True where a commit of the unit has been seen; false says nothing for certain. */
  seems({ stream, index }: UnitPlace): boolean {
    return this.#seen[stream]?.[index] === 1;
  }

  /** 1 where a unit of the stream has been seen to have a commit, as of now; empty where the run has no such stream. */
  seenUnits(stream: number): Uint8Array {
    return this.#seen[stream]?.slice() ?? new Uint8Array();
  }

  /** Whether the unit has a commit, asked by its name. */
  async isCommitted(unit: Unit): Promise<boolean> {
    if (this.seems(unit)) return true;
    const name = commitName(unit);
    return (await this.#store.head(name)) !== null && this.#note(unit.stream, unit.index, name);
  }

  /**
   * The unit's commit, or null where it has none.
   * @throws SluiceError `data` where the commit is torn, or names another run, stream, unit or range of records.
   */
  async read(unit: Unit): Promise<Commit | null> {
    if (!(await this.isCommitted(unit))) return null;
    const name = commitName(unit);
    const commit = decodeCommit(`${this.#store.uri}/${name}`, await this.#store.read(name));
    this.#check(commit, unit, name);
    return commit;
  }

  /** The commits seen so far, in order of stream and unit, read with bounded parallelism. @throws as {@link read}. */
  async *commits(signal?: AbortSignal): AsyncGenerator<Commit> {
    for await (const commit of this.#readEach(this.#seenUnits(), signal)) if (commit) yield commit;
  }

  /** {@link commits}, all in memory: about 10 kB each. */
  async readAll(signal?: AbortSignal): Promise<Commit[]> {
    const commits: Commit[] = [];
    for await (const commit of this.commits(signal)) commits.push(commit);
    return commits;
  }

  /**
   * Reads what has been seen and not been read before; one call at a time does the reading.
   * @param only one stream: a worker that joins a large run need not read all of it. @param wanted of what no note tells, only these.
   * @throws as {@link read}.
   */
  summarise(signal?: AbortSignal, only?: number, wanted?: (unit: Unit) => boolean): Promise<Summaries> {
    return this.#inTurn(async () => {
      for (const stream of only === undefined ? this.#seen.keys() : [only])
        if (this.notes.countUnread(stream) > 0 && this.countUnread(stream) >= FEWEST_NOTED)
          await this.#readNotes(stream, signal);
      const units = wanted ? filter(this.#unread(only), wanted) : this.#unread(only);
      for await (const commit of this.#readEach(units, signal)) if (commit) this.#summaries.add(commit);
      return this.#summaries;
    });
  }

  /** {@link summarise} of one stream, with its statistics: they are folded in order, for which some commits are read again. */
  async foldStatistics(
    stream: number,
    signal?: AbortSignal,
    wanted?: (unit: Unit) => boolean,
  ): Promise<Summaries> {
    await this.summarise(signal, stream, wanted);
    return this.#inTurn(async () => {
      if (this.notes.countUnread(stream) > 0 && [...this.#summaries.toFold(stream)].length >= FEWEST_NOTED)
        await this.#readNotes(stream, signal);
      for await (const commit of this.#readEach(this.#summaries.toFold(stream), signal))
        if (commit) this.#summaries.add(commit);
      return this.#summaries;
    });
  }

  /** Whether every unit of a stream has been seen to have a commit. */
  isComplete(stream: number): boolean {
    return this.#seen[stream]?.includes(0) === false;
  }

  /** The commits of a stream in short, each with the version of its object: what {@link trust} takes. */
  async describeCommits(stream: number, signal?: AbortSignal): Promise<DescribedCommit[]> {
    const summaries = (await this.summarise(signal, stream)).of(stream);
    return summaries.flatMap((summary) => {
      const version = this.#versions[stream]?.[summary.unit];
      return version === undefined ? [] : [{ ...summary, version }];
    });
  }

  /** Takes what somebody has written down of commits for that of the commits themselves, where they are the very objects that the last listing has. */
  trust(described: readonly DescribedCommit[]): void {
    for (const { version, ...summary } of described)
      if (this.#versions[summary.stream]?.[summary.unit] === version) this.#summaries.addSummary(summary);
  }

  /** Takes what the notes of a stream say, of commits that are the very objects that were listed. */
  async #readNotes(stream: number, signal: AbortSignal | undefined): Promise<void> {
    for await (const commits of this.notes.read(stream, signal))
      for (const noted of commits) if (this.#isListed(noted)) this.#summaries.add(noted.commit);
  }

  #isListed({ version, commit }: NotedCommit): boolean {
    const unit = this.findUnit(commit.stream, commit.unit);
    if (unit === null || mismatchOf(commit, unit, this.#run.run)) return false;
    return this.#versions[unit.stream]?.[unit.index] === version;
  }

  #inTurn<T>(action: () => Promise<T>): Promise<T> {
    const result = this.#reading.then(action);
    this.#reading = result.catch(() => {});
    return result;
  }

  /** The commits that are known in short: those that have been read, and those that {@link trust} was told of. */
  get known(): Summaries {
    return this.#summaries;
  }

  /** The units of which a commit has been seen, in order of stream and unit. */
  committedUnits(): Generator<Unit> {
    return this.#seenUnits();
  }

  /** How many commits {@link summarise} would read. */
  countUnread(only?: number): number {
    let count = 0;
    for (const _ of this.#unread(only)) count += 1;
    return count;
  }

  #unread(only?: number): Generator<Unit> {
    return filter(this.#seenUnits(only), (unit) => !this.#summaries.has(unit));
  }

  /**
   * Names in the run's folders that are shaped like commits but belong to no unit of this run.
   * (Another run's files were copied in, or the run's folder was made anew under a sleeping worker.)
   */
  foreignNames(): string[] {
    return [...this.#foreign];
  }

  /**
   * The data objects named by commits that are missing or have another size, by the last listing.
   * @returns units to make again, their data gone.
   * @throws SluiceError `data` naming an object whose size is not that of its commit.
   */
  async findMissingData(signal?: AbortSignal): Promise<Unit[]> {
    const missing: Unit[] = [];
    for (const summary of (await this.summarise(signal)).all())
      if (await this.#isDataMissing(summary.stream, summary.data, summary.size))
        missing.push(this.unitAt(summary.stream, summary.unit));
    return missing;
  }

  /**
   * {@link findMissingData} by names alone: reads only the commits whose data does not have its usual name (it is in `alt/`, or there
   * is none), and compares no other sizes. What a worker that joins a large run on an object store can afford. A run that has been
   * complete has an index, which tells all names and sizes: data in `alt/` too, where another object has the usual name.
   * @param extension of the run's data objects.
   */
  async findMissingNames(extension: string, signal?: AbortSignal): Promise<Unit[]> {
    const missing: Unit[] = [];
    const index = this.#committed === this.unitTotal ? await this.readIndex() : null;
    if (index) {
      for (const { stream, unit, data, size } of index) {
        const known = this.findUnit(stream, unit);
        if (known && (await this.#isDataMissing(stream, data, size))) missing.push(known);
      }
      return missing;
    }
    const isUnusual = (unit: Unit) => !this.#sizes.has(unitName(unit) + extension);
    for await (const commit of this.#readEach(filter(this.#seenUnits(), isUnusual), signal))
      if (commit && (await this.#isDataMissing(commit.stream, commit.data, commit.size)))
        missing.push(this.unitAt(commit.stream, commit.unit));
    return missing;
  }

  /** What `index.json` says of each unit; null where there is none of this run. */
  async readIndex(): Promise<ReturnType<typeof decodeIndex>> {
    if ((await this.#store.head("index.json")) === null) return null;
    return decodeIndex(await this.#store.read("index.json"), this.#run.run);
  }

  async #isDataMissing(stream: number, data: string | null, committed: number): Promise<boolean> {
    if (data === null) return false;
    const name = `tpu_${stream}/${data}`;
    const size = this.#sizes.get(name) ?? (await this.#store.head(name))?.size;
    if (size === undefined || size === committed) return size === undefined;
    throw new SluiceError("data", `shard ${this.#store.uri}/${name} is corrupt`, {
      found: `${size} bytes`,
      expected: `the ${committed} bytes of its commit`,
      fix: "Restore it from a copy, or remove it: extract makes it again.",
      values: { name, size, committed },
    });
  }

  /** Units whose commit has been seen, and is there no more: neither in the last listing nor by its own name. */
  async findLostCommits(): Promise<Unit[]> {
    const lost: Unit[] = [];
    for (const unit of this.#seenUnits()) {
      const isListed = this.#listed[unit.stream]?.[unit.index] === 1;
      if (!isListed && (await this.#store.head(commitName(unit))) === null) lost.push(unit);
    }
    return lost;
  }

  /** Bytes of a data object by the last listing. */
  listedSize(name: string): number | undefined {
    return this.#sizes.get(name);
  }

  /** CRC32C of a data object by the last listing that kept checksums, where the store's listings say them (Google's do, S3's do not). */
  listedCrc(name: string): string | undefined {
    return this.#sums.get(name);
  }

  /**
   * Refuses to go on where the run's folder is no longer the one this worker opened.
   * @throws SluiceError `config` where run.json is gone or another.
   */
  async confirmRun(): Promise<void> {
    const { size, crc32c, sha256 } = this.#runFile;
    const head: Stored | null = await this.#store.head("run.json");
    if (head?.size === size && head.crc32c === crc32c) return;
    const bytes = head === null ? null : await this.#store.read("run.json");
    const found = bytes === null ? "none" : createHash("sha256").update(bytes).digest("hex");
    if (found === sha256) return;
    throw new SluiceError(
      "config",
      `run.json at ${this.#store.uri} changed while this worker ran: the run was deleted or made anew`,
      {
        found: bytes === null ? "no run.json" : `SHA-256 ${found.slice(0, 12)}`,
        expected: `SHA-256 ${sha256.slice(0, 12)} of run ${this.#run.run.slice(0, 12)}`,
        fix: "Start the command again: it will open the run that is there now, or refuse it.",
      },
    );
  }

  /**
   * Creates the unit's commit. 'lost' means that somebody was first; a reply that was lost is told from that by reading back.
   * @throws SluiceError `config` where the run's folder is another by now; `data` where the name is taken by a foreign commit.
   */
  async commit(unit: Unit, commit: Commit): Promise<"committed" | "lost"> {
    await this.confirmRun();
    const name = commitName(unit);
    const bytes = encodeCommit(commit);
    const created = await this.#store.create(name, bytes);
    this.#note(unit.stream, unit.index, name);
    if (created !== "exists") {
      this.#made += 1;
      const versions = this.#versions[unit.stream] ?? [];
      versions[unit.index] = created.version;
      this.#versions[unit.stream] = versions;
      this.#summaries.add(commit);
      if (this.isRemote) this.notes.keep(unit.stream, created.version, bytes);
      return "committed";
    }
    const winner = await this.read(unit);
    return winner?.by.attempt === commit.by.attempt ? "committed" : "lost";
  }

  /** Remembers that a unit has a commit; false where the run has no such unit. */
  #note(stream: number, index: number, name: string): boolean {
    const units = this.#seen[stream];
    if (units === undefined || index >= units.length || name !== commitName({ stream, index })) return false;
    if (units[index] === 0) this.#committed += 1;
    units[index] = 1;
    return true;
  }

  *#seenUnits(only?: number): Generator<Unit> {
    for (const [stream, units] of this.#seen.entries())
      for (
        let index = only === undefined || stream === only ? units.indexOf(1) : -1;
        index >= 0;
        index = units.indexOf(1, index + 1)
      )
        yield this.unitAt(stream, index);
  }

  #readEach(units: Iterable<Unit>, signal?: AbortSignal): AsyncGenerator<Commit | null> {
    return mapAhead(units, READS_AT_ONCE, (unit) => this.read(unit), signal);
  }

  #check(commit: Commit, unit: Unit, name: string): void {
    const wrong = mismatchOf(commit, unit, this.#run.run);
    if (!wrong) return;
    const { what, found, expected } = wrong;
    throw new SluiceError(
      "data",
      `${this.#store.uri}/${name} is a foreign file: its ${what} is not this run's`,
      {
        found,
        expected: String(expected),
        fix: "It was copied from another run or left from one that was deleted: move it away and run extract again.",
        values: { name },
      },
    );
  }
}

/** What shows that a commit is not that of the unit in that run. */
function mismatchOf(
  commit: Commit,
  unit: Unit,
  run: string,
): { readonly what: string; readonly found: unknown; readonly expected: unknown } | undefined {
  const { stream, unit: index, records } = commit;
  if (commit.run !== run) return { what: "run id", found: commit.run, expected: run };
  if (stream !== unit.stream) return { what: "stream", found: stream, expected: unit.stream };
  if (index !== unit.index) return { what: "unit", found: index, expected: unit.index };
  if (records[0] !== unit.from || records[1] !== unit.to)
    return { what: "record range", found: records, expected: `[${unit.from},${unit.to}]` };
  return undefined;
}

function tooLarge(name: string, size: number): SluiceError {
  return new SluiceError("data", `${name} is too large to be a commit`, {
    found: `${size} bytes`,
    expected: `at most ${MAX_COMMIT_BYTES}`,
    fix: "Restore it from a copy, or remove it: extract computes the unit again.",
  });
}

/** Pages of a listing of so many units. */
function pagesOf(units: number): number {
  return Math.ceil((units * NAMES_A_UNIT) / PAGE);
}

function* filter<T>(items: Iterable<T>, isWanted: (item: T) => boolean): Generator<T> {
  for (const item of items) if (isWanted(item)) yield item;
}
