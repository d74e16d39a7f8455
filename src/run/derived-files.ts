// When the derived files are written, and by whom: they only repeat what the commits say, so nobody's copy is ever wrong for long.
// A worker writes those of its own stream, and of streams that it helps with where that takes no more reading than it has
// stored itself. Workers that share a stream take turns without a word: who finds that nobody has written since his last look writes.

import { rename, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Clock, realClock } from "../base/clock.js";
import { isSluiceError } from "../base/errors.js";
import { mapAhead } from "../base/read-ahead.js";
import type { Unit } from "../plan/unit.js";
import { makeFolders } from "../store/file-system.js";
import type { Store } from "../store/store.js";
import type { Commit } from "./commit.js";
import {
  type CheckpointContext,
  checkpointName,
  describeCheckpoint,
  trustDescribed,
  writeDescribed,
  writeIndex,
  writeStream,
} from "./derived.js";
import type { RunFile } from "./identity.js";
import type { CommitLog } from "./log.js";
import type { Summaries } from "./summaries.js";

/** Whose files, and where. */
export interface DerivedFilesOptions {
  readonly store: Store;
  readonly run: RunFile;
  readonly log: CommitLog;
  /** This worker's id: its checkpoint is always its own to write, and its stream's files where there is such a stream. */
  readonly workerId: number;
  readonly datasetPath: string;
  readonly modelPath: string;
  /** Where checkpoint_worker_N.json is copied too. */
  readonly checkpointDir: string | undefined;
  readonly clock?: Clock;
}

/** Commits that the last write of a worker may still read on an object store: it has been told to stop. */
const LAST_READS = 500;
const LOOKS_AT_ONCE = 32;
/** No file is written more often. */
const WRITE_EVERY_MS = 5_000;

/** Writes `metadata.json`, `checkpoints/` and `index.json`. */
export class DerivedFiles {
  readonly #o: DerivedFilesOptions;
  /** Streams whose files are older than their commits. */
  readonly #due = new Set<number>();
  /** Versions of the checkpoints when this worker last looked or wrote; null where there was none. */
  readonly #versions = new Map<number, string | null>();
  /** Streams whose files somebody else has written meanwhile. */
  readonly #shared = new Set<number>();
  /** 1 where a unit of the own stream had a commit when its files were last written, or this worker started. */
  #seenBefore: Uint8Array;
  /** Whether it has been this worker's time before: the first comes so soon that a note then would be a small one. */
  #hasWritten = false;
  #isFinished = false;
  /** When the own stream's files were written. */
  #wroteAt = Number.NEGATIVE_INFINITY;
  /** Commits read for the sake of other streams' files. */
  #read = 0;
  #writing: Promise<void> = Promise.resolve();

  constructor(options: DerivedFilesOptions) {
    this.#o = options;
    this.#seenBefore = options.log.seenUnits(options.workerId);
  }

  /**
   * Writes those of the own stream and of the streams named, where it is this worker's turn, from all commits seen so far; one write
   * after the other. @param isLast the worker ends: what it has is written now or never.
   */
  write(
    status: CheckpointContext["status"],
    streams: Iterable<number>,
    signal?: AbortSignal,
    isLast = false,
  ): Promise<void> {
    for (const stream of streams) this.#due.add(stream);
    const result = this.#writing.then(() => this.#writeDue(status, isLast, signal));
    this.#writing = result.catch(() => {}); // Raised to its caller; what was due stays due.
    return result;
  }

  /**
   * Completes the files of a complete run: every stream's that are missing or of an earlier moment, the own ones, and then the index.
   * One worker does this ({@link completeRun}).
   * @param hasCommitted whether this worker made any commit: an index that is there may then be older than it.
   */
  async complete(streams: Iterable<number>, hasCommitted: boolean, signal?: AbortSignal): Promise<void> {
    const { store, run, log, workerId } = this.#o;
    // In a folder, whatever this worker has committed to; where each look costs requests, what does not say that it is complete.
    const due = new Set(log.isRemote ? [workerId] : [...streams, workerId]);
    if (this.#isFinished && !this.#shared.has(workerId)) due.delete(workerId);
    const others = [...run.identity.dataset.streams.keys()].filter((stream) => !due.has(stream));
    const isDescribed = async (stream: number) => ({ stream, is: await this.#isDescribed(stream) });
    for await (const { stream, is } of mapAhead(others, LOOKS_AT_ONCE, isDescribed, signal))
      if (!is) due.add(stream);
    await this.#writing;
    for (const stream of due) await this.#writeStream(stream, "complete", signal);
    if (!hasCommitted && (await store.head("index.json")) !== null) return;
    const summaries = await log.summarise(signal);
    await writeIndex(store, run, summaries, summaries.tensors ?? (await this.#readTensors(summaries)));
  }

  /** Those of the first shard. */
  async #readTensors(summaries: Summaries): Promise<Commit["tensors"]> {
    const { log } = this.#o;
    for (const { stream, unit, data } of summaries.all())
      if (data !== null) return (await log.read(log.unitAt(stream, unit)))?.tensors ?? {};
    return {};
  }

  /**
   * The run is whole, and whoever completed it has written every stream's files. What is left to this worker: a checkpoint under its
   * id where the run has no such stream, and the copy of its checkpoint.
   */
  async finishCheckpoint(signal?: AbortSignal): Promise<void> {
    const { store, run, workerId, checkpointDir } = this.#o;
    await this.#writing;
    if (!run.identity.dataset.streams[workerId]) await this.#writeStream(workerId, "complete", signal);
    if (checkpointDir !== undefined)
      await this.#writeCopy(checkpointDir, await store.read(checkpointName(workerId)));
  }

  /**
   * Whether a stream's files are there, and say that it is complete: a worker that was killed, or woke up late, may have left
   * those of an earlier moment. The checkpoint is written last.
   */
  async #isDescribed(stream: number): Promise<boolean> {
    const { store } = this.#o;
    const readCheckpoint = store.read(checkpointName(stream)).catch((error: unknown) => {
      if (isSluiceError(error, "data")) return new Uint8Array(); // There is none.
      throw error;
    });
    const [metadata, checkpoint] = await Promise.all([
      store.head(`tpu_${stream}/metadata.json`),
      readCheckpoint,
    ]);
    return metadata !== null && /"status": "complete"/.test(Buffer.from(checkpoint).toString());
  }

  async #writeDue(status: CheckpointContext["status"], isLast: boolean, signal?: AbortSignal): Promise<void> {
    const { workerId } = this.#o;
    let isOwnWritten = false;
    for (const stream of new Set([workerId, ...this.#due])) {
      signal?.throwIfAborted();
      const isMine = (await this.#isMyTurn(stream, isLast)) && (await this.#canAfford(stream, isLast));
      if (isMine) await this.#writeStream(stream, status, signal, !isLast);
      isOwnWritten ||= isMine && stream === workerId;
      const isForOthers = !isMine || stream !== workerId || this.#isDivided();
      if (isForOthers && (this.#hasWritten || isLast)) await this.#writeNote(stream);
    }
    this.#hasWritten = true;
    await this.#copyCheckpoint(status, isOwnWritten, signal);
  }

  /** Nobody has written since this worker's last look, which was one period ago. */
  async #isMyTurn(stream: number, isLast: boolean): Promise<boolean> {
    const { store, log, workerId } = this.#o;
    const known = this.#versions.get(stream);
    const found = (await store.head(checkpointName(stream)))?.version ?? null;
    this.#versions.set(stream, found);
    if (known !== undefined && known !== found) this.#shared.add(stream);
    if (isLast && stream === workerId && !(log.isRemote && this.#shared.has(stream))) return true;
    return known === found || found === null || (known === undefined && (isLast || !log.isRemote));
  }

  async #canAfford(stream: number, isLast: boolean): Promise<boolean> {
    const { log, workerId } = this.#o;
    if (!log.isRemote) return true;
    const isOwn = stream === workerId;
    const credit = isOwn ? (isLast ? LAST_READS : Number.POSITIVE_INFINITY) : log.made - this.#read;
    if (log.countUnread(stream) + 1 > credit) return false;
    const looked = await log.lookAtOpen({ only: stream });
    const unread = log.countUnread(stream);
    if (!isOwn) this.#read += looked;
    if (unread + looked > credit) return false;
    if (!isOwn) this.#read += unread;
    return true;
  }

  /**
   * Writes down what this worker has committed to streams that somebody else will have to describe ({@link CommitNotes}): when it has
   * nothing else to do. Costs nothing where there is nothing new.
   */
  async writeNotes(): Promise<void> {
    const { log, workerId } = this.#o;
    for (const stream of log.notes.keptStreams) {
      const isDescribed = stream === workerId && this.#knowsHalf() && !this.#isDivided();
      if (!isDescribed) await this.#writeNote(stream);
    }
  }

  #writeNote(stream: number): Promise<void> {
    const { log, clock = realClock } = this.#o;
    return log.notes.write(stream, () => clock.uuid());
  }

  /** Whether others have made more of the own stream than this worker. */
  #isDivided(): boolean {
    const { log, workerId } = this.#o;
    return log.notes.countRead(workerId) > log.notes.countMade(workerId);
  }

  /** Whether this worker knows what is in half of its stream: who knows less leaves it to whom it is cheaper for. */
  #knowsHalf(): boolean {
    const { log, workerId } = this.#o;
    return 2 * log.known.of(workerId).length >= (log.unitCounts[workerId] ?? 0);
  }

  /**
   * Writes the own stream's files once it is complete, and what its commits say in short: whoever completes the run need not read
   * them. Costs nothing before.
   */
  async finishStream(signal?: AbortSignal): Promise<void> {
    const { store, run, log, workerId, clock = realClock } = this.#o;
    const isSoon = clock.now() - this.#wroteAt < WRITE_EVERY_MS;
    if (this.#isFinished || !log.isRemote || !log.isComplete(workerId) || isSoon) return;
    this.#isFinished = true;
    if (!this.#knowsHalf() || this.#isDivided()) return;
    log.notes.drop(workerId);
    const commits = await log.describeCommits(workerId, signal);
    const writeFiles = async () => {
      await this.#writing;
      if (!this.#shared.has(workerId)) await this.#writeStream(workerId, "complete", signal);
    };
    await Promise.all([writeDescribed(store, run, workerId, commits), writeFiles()]);
  }

  /** Takes over what others have written down so; the log has just been listed. */
  async readDescribed(signal?: AbortSignal): Promise<void> {
    const { store, run, log } = this.#o;
    await trustDescribed(store, run, log, signal);
  }

  async #writeStream(
    stream: number,
    status: CheckpointContext["status"],
    signal?: AbortSignal,
    mayLag = false,
  ): Promise<void> {
    const { store, run, log, workerId, datasetPath, modelPath } = this.#o;
    // What others have committed since the last time will be written down by then the next time.
    const wasSeen = ({ index }: Unit) => this.#seenBefore[index] === 1;
    const isLagging = mayLag && log.isRemote && stream === workerId;
    const summaries = await log.foldStatistics(stream, signal, isLagging ? wasSeen : undefined);
    if (stream === workerId) this.#seenBefore = log.seenUnits(stream);
    const written = await writeStream(store, run, summaries, stream, { datasetPath, modelPath, status });
    this.#versions.set(stream, written.version);
    if (stream === workerId) this.#wroteAt = (this.#o.clock ?? realClock).now();
    this.#due.delete(stream);
  }

  /** @param isWritten whether this worker has just written the same into the run. */
  async #copyCheckpoint(
    status: CheckpointContext["status"],
    isWritten: boolean,
    signal?: AbortSignal,
  ): Promise<void> {
    const { run, log, workerId, datasetPath, modelPath, checkpointDir } = this.#o;
    if (checkpointDir === undefined) return;
    const summaries = isWritten ? log.known : await log.summarise(signal, workerId);
    const context = { datasetPath, modelPath, status };
    const own = describeCheckpoint(run, workerId, summaries.of(workerId), context);
    await this.#writeCopy(checkpointDir, `${JSON.stringify(own, null, 1)}\n`);
  }

  /** Writes `checkpoint_worker_N.json` into a folder of the user's; a reader never sees half of it, nor do workers of one id spoil each other's. */
  async #writeCopy(folder: string, content: Uint8Array | string): Promise<void> {
    const { workerId, clock = realClock } = this.#o;
    await makeFolders(folder);
    const file = join(folder, `checkpoint_worker_${workerId}.json`);
    const temporary = `${file}.${clock.uuid()}`;
    try {
      await writeFile(temporary, content);
      await rename(temporary, file);
    } catch (error) {
      await unlink(temporary).catch(() => {}); // There is none, or it may stay.
      throw error;
    }
  }
}
