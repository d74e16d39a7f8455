// The log: a set of commits, one a unit, created once, in no order. A listing tells what may be skipped; that a commit
// is absent is only ever believed of its own name.

import { createHash } from "node:crypto";
import { SluiceError } from "../base/errors.js";
import { type Unit, unitAt, unitCount, unitName } from "../plan/unit.js";
import type { Store, Stored } from "../store/store.js";
import { type Commit, decodeCommit, encodeCommit } from "./commit.js";
import type { RunFile } from "./identity.js";

const COMMIT_NAME = /^tpu_(\d+)\/shard_(\d{4,})\.json$/;
const READS_AT_ONCE = 32;

/** The name of a unit's commit: `tpu_0/shard_0001.json`. */
export function commitName(unit: { readonly stream: number; readonly index: number }): string {
  return `${unitName(unit)}.json`;
}

/** The name of a commit's data object in the store; null where the unit has no data. */
export function dataName(commit: Commit): string | null {
  return commit.data === null ? null : `tpu_${commit.stream}/${commit.data}`;
}

/** The commits of one run. */
export class CommitLog {
  readonly #store: Store;
  readonly #run: RunFile;
  readonly #runFileSha256: string;
  /** Commits seen, by unit name; those not yet read are null. */
  readonly #commits = new Map<string, Commit | null>();
  /** Sizes of all objects below `tpu_*`, as last listed. */
  #sizes = new Map<string, number>();

  /** @param runFile the bytes of `run.json`, as read when the worker started. */
  constructor(store: Store, run: RunFile, runFile: Uint8Array) {
    this.#store = store;
    this.#run = run;
    this.#runFileSha256 = createHash("sha256").update(runFile).digest("hex");
  }

  /** Every unit of the run, stream by stream. */
  *units(): Generator<Unit> {
    for (let stream = 0; stream < this.#run.identity.dataset.streams.length; stream++)
      yield* this.unitsOf(stream);
  }

  /** The units of one stream, in order; none where the run has no such stream. */
  *unitsOf(stream: number): Generator<Unit> {
    const records = this.#run.identity.dataset.streams[stream]?.records ?? 0;
    const perShard = this.#run.identity.samples_per_shard;
    for (let index = 0; index < unitCount(records, perShard); index++)
      yield unitAt(stream, index, records, perShard);
  }

  /** Lists the run's folders: what has been committed by anybody since. */
  async refresh(): Promise<void> {
    const sizes = new Map<string, number>();
    for await (const stored of this.#store.list("tpu_")) {
      sizes.set(stored.name, stored.size);
      const match = COMMIT_NAME.exec(stored.name);
      if (!match) continue;
      const name = stored.name.slice(0, -".json".length);
      if (!this.#commits.has(name)) this.#commits.set(name, null);
    }
    this.#sizes = sizes;
  }

  /** True where a commit of the unit has been seen; false says nothing for certain. */
  seems(unit: Unit): boolean {
    return this.#commits.has(unitName(unit));
  }

  /** Whether the unit has a commit, asked by its name. */
  async isCommitted(unit: Unit): Promise<boolean> {
    if (this.seems(unit)) return true;
    const found = (await this.#store.head(commitName(unit))) !== null;
    if (found) this.#commits.set(unitName(unit), null);
    return found;
  }

  /**
   * The unit's commit, or null where it has none.
   * @throws SluiceError `data` where the commit is torn, or names another run, stream, unit or range of records.
   */
  async read(unit: Unit): Promise<Commit | null> {
    const known = this.#commits.get(unitName(unit));
    if (known) return known;
    if (known === undefined && !(await this.isCommitted(unit))) return null;
    const name = commitName(unit);
    const commit = decodeCommit(`${this.#store.uri}/${name}`, await this.#store.read(name));
    this.#check(commit, unit, name);
    this.#commits.set(unitName(unit), commit);
    return commit;
  }

  /** All commits of the run seen so far, in order of stream and unit, read with bounded parallelism. */
  async readAll(signal?: AbortSignal): Promise<Commit[]> {
    const wanted = [...this.units()].filter((unit) => this.seems(unit));
    const commits: (Commit | null)[] = new Array(wanted.length).fill(null);
    let next = 0;
    const readSome = async () => {
      for (let i = next++; i < wanted.length; i = next++) {
        signal?.throwIfAborted();
        const unit = wanted[i];
        if (unit) commits[i] = await this.read(unit);
      }
    };
    await Promise.all(Array.from({ length: READS_AT_ONCE }, readSome));
    return commits.filter((commit) => commit !== null);
  }

  /**
   * Names in the run's folders that are shaped like commits but belong to no unit of this run.
   * (Another run's files were copied in, or the run's folder was made anew under a sleeping worker.)
   */
  foreignNames(): string[] {
    const own = new Set([...this.units()].map(unitName));
    return [...this.#commits.keys()].filter((name) => !own.has(name)).map((name) => `${name}.json`);
  }

  /**
   * The data objects named by commits that are missing or have another size, by the last listing.
   * @returns units to make again, their data gone.
   * @throws SluiceError `data` naming an object whose size is not that of its commit.
   */
  async findMissingData(signal?: AbortSignal): Promise<Unit[]> {
    const missing: Unit[] = [];
    for (const commit of await this.readAll(signal)) {
      const name = dataName(commit);
      if (name === null) continue;
      const size = this.#sizes.get(name) ?? (await this.#store.head(name))?.size;
      if (size === undefined) missing.push(this.#unitOf(commit));
      else if (size !== commit.size) {
        throw new SluiceError("data", `shard ${this.#store.uri}/${name} is corrupt`, {
          found: `${size} bytes`,
          expected: `the ${commit.size} bytes of its commit`,
          fix: "Restore it from a copy, or remove it: extract makes it again.",
          values: { name, size, committed: commit.size },
        });
      }
    }
    return missing;
  }

  /** Bytes of an object below `tpu_*` by the last listing. */
  listedSize(name: string): number | undefined {
    return this.#sizes.get(name);
  }

  /**
   * Refuses to go on where the run's folder is no longer the one this worker opened.
   * @throws SluiceError `config` where run.json is gone or another.
   */
  async confirmRun(): Promise<void> {
    const head: Stored | null = await this.#store.head("run.json");
    const bytes = head === null ? null : await this.#store.read("run.json");
    const found = bytes === null ? "none" : createHash("sha256").update(bytes).digest("hex");
    if (found === this.#runFileSha256) return;
    throw new SluiceError(
      "config",
      `run.json at ${this.#store.uri} changed while this worker ran: the run was deleted or made anew`,
      {
        found: bytes === null ? "no run.json" : `SHA-256 ${found.slice(0, 12)}`,
        expected: `SHA-256 ${this.#runFileSha256.slice(0, 12)} of run ${this.#run.run.slice(0, 12)}`,
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
    const created = await this.#store.create(name, encodeCommit(commit));
    if (created !== "exists") {
      this.#commits.set(unitName(unit), commit);
      if (commit.data !== null) this.#sizes.set(`tpu_${commit.stream}/${commit.data}`, commit.size);
      return "committed";
    }
    this.#commits.set(unitName(unit), null);
    const winner = await this.read(unit);
    return winner?.by.attempt === commit.by.attempt ? "committed" : "lost";
  }

  #unitOf(commit: Commit): Unit {
    return { stream: commit.stream, index: commit.unit, from: commit.records[0], to: commit.records[1] };
  }

  #check(commit: Commit, unit: Unit, name: string): void {
    const foreign = (what: string, found: unknown, expected: unknown) =>
      new SluiceError("data", `${this.#store.uri}/${name} is a foreign file: its ${what} is not this run's`, {
        found,
        expected: String(expected),
        fix: "It was copied from another run or left from one that was deleted: move it away and run extract again.",
        values: { name },
      });
    if (commit.run !== this.#run.run) throw foreign("run id", commit.run, this.#run.run);
    if (commit.stream !== unit.stream) throw foreign("stream", commit.stream, unit.stream);
    if (commit.unit !== unit.index) throw foreign("unit", commit.unit, unit.index);
    if (commit.records[0] !== unit.from || commit.records[1] !== unit.to) {
      throw foreign("record range", commit.records, `[${unit.from},${unit.to}]`);
    }
  }
}
