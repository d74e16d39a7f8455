// Spool files: shards under way, on a local disk. Where the run lives on a local disk too, the spool lies in the run's own
// `.tmp/`, and the finished file is itself what is linked.

import { join } from "node:path";
import type { ShardLayout } from "../shard/format.js";
import { explainDiskError } from "../store/disk-errors.js";
import { type FileSystem, nodeFileSystem } from "../store/file-system.js";
import { cleanTemporaries, temporaryName } from "../store/temporary.js";

/** A folder of shards under way. */
export class Spool {
  readonly folder: string;
  readonly #fs: FileSystem;
  readonly #files = new Set<string>();

  constructor(folder: string, fs: FileSystem = nodeFileSystem) {
    this.folder = folder;
    this.#fs = fs;
  }

  /**
   * Makes the folder, and removes what dead workers of this machine left in it.
   * @throws SluiceError as {@link explainDiskError} says.
   */
  async prepare(): Promise<void> {
    try {
      await this.#fs.makeFolder(this.folder);
      await cleanTemporaries(this.folder, this.#fs);
    } catch (cause) {
      throw this.explain(cause);
    }
  }

  /**
   * A new file with the layout's fixed bytes in their places. @returns its path.
   * @throws SluiceError as {@link explainDiskError} says.
   */
  async create(layout: ShardLayout): Promise<string> {
    const path = join(this.folder, `${temporaryName()}.shard`);
    this.#files.add(path);
    try {
      await this.#fs.makeFolder(this.folder);
      const file = await this.#fs.open(path, "create");
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

  /** What an error of using the folder's files means. */
  explain(cause: unknown): unknown {
    return explainDiskError(cause, { disk: this.folder, path: this.folder, flag: "--spool" });
  }

  /** Removes a file of this worker's; no error where it is gone. */
  async remove(path: string): Promise<void> {
    this.#files.delete(path.replace(/\.z$/, ""));
    await this.#fs.unlink(path).catch(() => {}); // Gone, or for a later start to clean.
  }

  /** Removes all that this worker has left. */
  async removeAll(): Promise<void> {
    for (const path of [...this.#files]) {
      await this.remove(path);
      await this.remove(`${path}.z`);
    }
  }
}
