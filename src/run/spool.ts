// Spool files: shards under way, on a local disk. Where the run lives on a local disk too, the spool lies in the run's own
// `.tmp/`, and the finished file is itself what is linked. Otherwise the files are private, and a finished shard
// outlives its worker.

import { join } from "node:path";
import type { UnitPlace } from "../plan/unit.js";
import type { ShardLayout } from "../shard/format.js";
import { explainDiskError } from "../store/disk-errors.js";
import { type FileSystem, nodeFileSystem } from "../store/file-system.js";
import { cleanTemporaries, type Maker, THIS_MACHINE, temporaryName } from "../store/temporary.js";
import { type FinishedMark, type FinishedShard, FinishedShards, MARK } from "./finished-shards.js";

/** A folder of shards under way. */
export class Spool {
  readonly folder: string;
  readonly #fs: FileSystem;
  readonly #maker: Maker;
  /** The run whose finished shards outlive their worker; null where shards are linked, which takes no time. */
  readonly #finished: FinishedShards | null;
  /** Files under way. */
  readonly #files = new Set<string>();
  /** Files that are marked as finished. */
  readonly #marked = new Set<string>();

  /** @param run the id of a run in an object store. */
  constructor(
    folder: string,
    fs: FileSystem = nodeFileSystem,
    run: string | null = null,
    maker: Maker = THIS_MACHINE,
  ) {
    this.folder = folder;
    this.#fs = fs;
    this.#maker = maker;
    this.#finished = run === null ? null : new FinishedShards(folder, fs, run, maker);
  }

  /**
   * Makes the folder, and removes what dead workers of this machine left in it; finished shards stay for a while.
   * @throws SluiceError as {@link explainDiskError} says.
   */
  async prepare(): Promise<void> {
    try {
      await this.#fs.makeFolder(this.folder, this.#finished ? 0o700 : undefined);
      const names = new Set(await this.#fs.list(this.folder));
      const isFinished = (name: string) =>
        name.endsWith(MARK) ? names.has(name.slice(0, -MARK.length)) : names.has(name + MARK);
      await cleanTemporaries(this.folder, this.#fs, isFinished, this.#maker);
      await this.#finished?.find();
    } catch (cause) {
      throw this.explain(cause);
    }
  }

  /**
   * A new file with the layout's fixed bytes in their places. @returns its path.
   * @throws SluiceError as {@link explainDiskError} says.
   */
  async create(layout: ShardLayout): Promise<string> {
    const path = join(this.folder, `${temporaryName(this.#maker)}.shard`);
    this.#files.add(path);
    try {
      await this.#fs.makeFolder(this.folder);
      const file = await this.#fs.open(path, this.#finished ? "create-private" : "create");
      try {
        for (const { offset, bytes } of layout.literals) await file.write(bytes, offset);
      } finally {
        await file.close();
      }
      return path;
    } catch (cause) {
      await this.remove(path);
      throw this.explain(cause);
    }
  }

  /** Where the compressed form of a file of this worker's is to be. */
  compressedName(path: string): string {
    const compressed = `${path}.z`;
    this.#files.add(compressed);
    return compressed;
  }

  /** What an error of using the folder's files means. */
  explain(cause: unknown): unknown {
    return explainDiskError(cause, { disk: this.folder, path: this.folder, flag: "--spool" });
  }

  /** Marks a file of this worker's as a finished shard: from now on only {@link remove} removes it. */
  async markFinished(path: string, mark: FinishedMark): Promise<void> {
    if (!this.#finished) return;
    await this.#finished.mark(path, mark);
    this.#marked.add(path);
  }

  /** Whether a file of this worker's is marked as finished. */
  isFinished(path: string): boolean {
    return this.#marked.has(path);
  }

  /** Units of which somebody has left a finished shard. */
  finishedUnits(): UnitPlace[] {
    return this.#finished?.units() ?? [];
  }

  /** The finished shard of a unit, whose lease the caller holds; null where nobody has left one. */
  async takeFinished(unit: string): Promise<FinishedShard | null> {
    const taken = (await this.#finished?.take(unit)) ?? null;
    if (taken) this.#marked.add(taken.file);
    return taken;
  }

  /** Removes finished shards of units that are done. */
  async dropFinished(isDone: (unit: UnitPlace) => boolean): Promise<void> {
    await this.#finished?.drop(isDone);
  }

  /** Removes a file of this worker's; no error where it is gone. */
  async remove(path: string): Promise<void> {
    this.#files.delete(path);
    if (this.#marked.delete(path)) await this.#finished?.remove(path);
    else await this.#fs.unlink(path).catch(() => {}); // Gone, or for a later start to clean.
  }

  /** Removes all that this worker has left, but for finished shards. */
  async removeAll(): Promise<void> {
    for (const path of [...this.#files]) if (!this.#marked.has(path)) await this.remove(path);
  }
}
