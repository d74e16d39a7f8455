// Files that commands write for the user (streams, exports): under way they have names that say which process makes them, as in a run's
// `.tmp/`. So two commands never write to one file, and what a killed one left is removed by the next.

import { link, open, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { systemCode } from "../base/errors.js";
import { nodeFileSystem } from "./file-system.js";
import { cleanTemporaries, temporaryName } from "./temporary.js";

const COMPARED_BYTES = 1 << 20;

/** The temporary files of one command in one folder. */
export class TemporaryFiles {
  readonly #folder: string;
  readonly #made: string[] = [];

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** Removes what dead processes left there. @param folder which exists. */
  static async open(folder: string): Promise<TemporaryFiles> {
    await cleanTemporaries(folder, nodeFileSystem);
    return new TemporaryFiles(folder);
  }

  /** A path that nobody else will open. */
  newFile(): string {
    const path = join(this.#folder, `${temporaryName()}.tmp`);
    this.#made.push(path);
    return path;
  }

  /**
   * Gives a finished file its name, which another may have taken meanwhile.
   * @returns false where what is there has other bytes.
   */
  async publish(from: string, to: string): Promise<boolean> {
    try {
      await link(from, to);
      return true;
    } catch (error) {
      if (systemCode(error) !== "EEXIST" && (await nodeFileSystem.stat(to)) === null) {
        await rename(from, to); // A file system without hard links.
        return true;
      }
      return haveSameBytes(from, to);
    }
  }

  /** Removes what has not been renamed. */
  async close(): Promise<void> {
    for (const path of this.#made) await rm(path, { force: true });
  }
}

async function haveSameBytes(a: string, b: string): Promise<boolean> {
  const files = [await open(a, "r")];
  try {
    files.push(await open(b, "r"));
    const [one, other] = [Buffer.alloc(COMPARED_BYTES), Buffer.alloc(COMPARED_BYTES)];
    for (let at = 0; ; at += COMPARED_BYTES) {
      const read = await Promise.all(
        [one, other].map(
          async (bytes, i) => (await files[i]?.read(bytes, 0, bytes.length, at))?.bytesRead ?? 0,
        ),
      );
      if (read[0] !== read[1] || !one.subarray(0, read[0]).equals(other.subarray(0, read[1]))) return false;
      if (read[0] === 0) return true;
    }
  } finally {
    for (const file of files) await file.close();
  }
}
