// When the derived files are written: now and then those of the streams that this worker works on, and at completion whatever
// of the whole run is missing, the index last. They only repeat what the commits say, so nobody's copy is ever wrong for long.

import { mkdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Store } from "../store/store.js";
import { type CheckpointContext, describeCheckpoint, writeDerived, writeIndex } from "./derived.js";
import type { RunFile } from "./identity.js";
import type { CommitLog } from "./log.js";

/** Whose files, and where. */
export interface DerivedFilesOptions {
  readonly store: Store;
  readonly run: RunFile;
  readonly log: CommitLog;
  /** This worker's id: its checkpoint is always written, and its stream's files where there is such a stream. */
  readonly workerId: number;
  readonly datasetPath: string;
  readonly modelPath: string;
  /** Where checkpoint_worker_N.json is copied too. */
  readonly checkpointDir: string | undefined;
}

/** Writes `metadata.json`, `checkpoints/` and `index.json`. */
export class DerivedFiles {
  readonly #o: DerivedFilesOptions;
  /** Streams whose files are older than their commits. */
  readonly #due = new Set<number>();
  #writing: Promise<void> = Promise.resolve();

  constructor(options: DerivedFilesOptions) {
    this.#o = options;
  }

  /** Writes those of the own stream and of the streams named, from all commits seen so far; one write after the other. */
  write(status: CheckpointContext["status"], streams: Iterable<number>, signal?: AbortSignal): Promise<void> {
    for (const stream of streams) this.#due.add(stream);
    const result = this.#writing.then(() => this.#writeDue(status, signal));
    this.#writing = result.catch(() => {}); // Raised to its caller; what was due stays due.
    return result;
  }

  /**
   * Completes the files of a complete run: every stream's that are missing or of an earlier moment, the own ones, and then the index.
   * @param hasCommitted whether this worker made any commit: an index that is there may then be older than it.
   */
  async complete(streams: Iterable<number>, hasCommitted: boolean): Promise<void> {
    const { store, run, log } = this.#o;
    const due = new Set(streams);
    for (const stream of run.identity.dataset.streams.keys())
      if (!(await this.#isDescribed(stream))) due.add(stream);
    await this.write("complete", due);
    if (!hasCommitted && (await store.head("index.json")) !== null) return;
    const summaries = await log.summarise();
    let tensors = {};
    for (const { stream, unit, data } of summaries.all()) {
      if (data === null) continue;
      tensors = (await log.read(log.unitAt(stream, unit)))?.tensors ?? {};
      break;
    }
    await writeIndex(store, run, summaries, tensors);
  }

  /**
   * Whether a stream's files are there, and say that it is complete: a worker that was killed, or woke up late, may have left
   * those of an earlier moment. The checkpoint is written last.
   */
  async #isDescribed(stream: number): Promise<boolean> {
    const { store } = this.#o;
    if ((await store.head(`tpu_${stream}/metadata.json`)) === null) return false;
    const name = `checkpoints/checkpoint_worker_${stream}.json`;
    const bytes = (await store.head(name)) === null ? new Uint8Array() : await store.read(name);
    return /"status": "complete"/.test(Buffer.from(bytes).toString());
  }

  async #writeDue(status: CheckpointContext["status"], signal?: AbortSignal): Promise<void> {
    const { store, run, log, workerId, datasetPath, modelPath, checkpointDir } = this.#o;
    const context = { datasetPath, modelPath, status };
    const summaries = await log.summarise(signal);
    const streams = [...this.#due];
    await writeDerived(store, run, summaries, { ...context, streams: [workerId, ...streams], workerId });
    for (const stream of streams) this.#due.delete(stream);
    if (checkpointDir === undefined) return;
    const own = describeCheckpoint(run, workerId, summaries.of(workerId), context);
    await mkdir(checkpointDir, { recursive: true });
    const file = join(checkpointDir, `checkpoint_worker_${workerId}.json`);
    await writeFile(`${file}.${process.pid}`, `${JSON.stringify(own, null, 1)}\n`);
    await rename(`${file}.${process.pid}`, file);
  }
}
