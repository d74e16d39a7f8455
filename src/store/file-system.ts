// The few calls that the file store and the spool make, as a seam: tests count them, fail each of them once, and replay a
// journal of them up to any point, as a power cut would leave the disk.

import {
  type FileHandle,
  link,
  lstat,
  mkdir,
  open,
  readdir,
  rename,
  stat,
  statfs,
  unlink,
} from "node:fs/promises";
import { dirname } from "node:path";
import { SluiceError, systemCode } from "../base/errors.js";

/** Facts of a file. */
export interface FileFacts {
  readonly size: number;
  readonly inode: bigint;
  readonly modifiedNs: bigint;
  readonly links: number;
  readonly isFolder: boolean;
  /** The user whose it is, where the system knows users. */
  readonly owner?: number;
}

/** A file open for writing. */
export interface WritableFile {
  /** Writes all of the bytes at the offset. */
  write(bytes: Uint8Array, offset: number): Promise<void>;
  /** Makes the file's bytes durable. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

/** Files and folders by absolute path. Errors are Node's system errors. */
export interface FileSystem {
  /** Opens a file for writing; `create` fails where it exists, and `create-private` makes one that no other user can read. */
  open(path: string, mode: "create" | "create-private" | "update"): Promise<WritableFile>;
  read(path: string, range?: { readonly start: number; readonly end: number }): Promise<Uint8Array>;
  link(from: string, to: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  unlink(path: string): Promise<void>;
  /** Creates the folder and its parents; the topmost one that was new, or undefined. @param mode of a new folder. */
  makeFolder(path: string, mode?: number): Promise<string | undefined>;
  /**
   * Makes a folder that nobody else can look into, in one that all can write to; nothing where it is there. Absent on a disk that has
   * one user. @throws SluiceError `config` where something of somebody else's, or open to others, is in its place.
   */
  makePrivateFolder?(path: string): Promise<void>;
  /** Bytes that this user may still write to the disk of a path, which need not exist yet; null where that is not known. */
  freeSpace?(path: string): Promise<number | null>;
  /** Makes the folder's entries durable. */
  syncFolder(path: string): Promise<void>;
  /** Names in a folder, with a slash after those of folders; empty where there is none. */
  list(path: string): Promise<string[]>;
  /** Null where there is nothing by that name. */
  stat(path: string): Promise<FileFacts | null>;
}

/** The real one. */
export const nodeFileSystem: FileSystem = {
  async open(path, mode) {
    const permissions = mode === "create-private" ? 0o600 : undefined;
    return new NodeFile(await open(path, mode === "update" ? "r+" : "wx+", permissions));
  },
  async read(path, range) {
    const file = await open(path, "r");
    try {
      const start = range?.start ?? 0;
      const end = range?.end ?? (await file.stat()).size;
      const bytes = new Uint8Array(end - start);
      let done = 0;
      while (done < bytes.length) {
        const { bytesRead } = await file.read(bytes, done, bytes.length - done, start + done);
        if (bytesRead === 0) return bytes.subarray(0, done);
        done += bytesRead;
      }
      return bytes;
    } finally {
      await file.close();
    }
  },
  link,
  rename,
  unlink,
  makeFolder: makeFolders,
  async makePrivateFolder(path) {
    await mkdir(path, { mode: 0o700 }).catch((error: unknown) => {
      if (systemCode(error) !== "EEXIST") throw error;
    });
    const { uid, mode, isFolder } = await lstat(path).then((s) => ({
      uid: s.uid,
      mode: s.mode & 0o777,
      isFolder: s.isDirectory(),
    }));
    if (isFolder && uid === process.getuid?.() && (mode & 0o077) === 0) return;
    throw new SluiceError("config", `${path} is not a folder of this user alone`, {
      found: isFolder ? `user ${uid}, mode ${mode.toString(8)}` : "something that is no folder",
      expected: "mode 700",
      fix: "Remove it, or name another folder with --spool.",
    });
  },
  async freeSpace(path) {
    for (let folder = path; ; folder = dirname(folder)) {
      try {
        const { bavail, bsize } = await statfs(folder);
        return bavail * bsize;
      } catch (error) {
        if (!isMissing(error) || folder === dirname(folder)) return null;
      }
    }
  },
  async syncFolder(path) {
    const folder = await open(path, "r");
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  },
  async list(path) {
    try {
      const entries = await readdir(path, { withFileTypes: true });
      return entries.map((entry) => (entry.isDirectory() ? `${entry.name}/` : entry.name));
    } catch (error) {
      if (isMissing(error)) return [];
      throw error;
    }
  },
  async stat(path) {
    try {
      const s = await stat(path, { bigint: true });
      return {
        size: Number(s.size),
        inode: s.ino,
        modifiedNs: s.mtimeNs,
        links: Number(s.nlink),
        isFolder: s.isDirectory(),
        owner: Number(s.uid),
      };
    } catch (error) {
      if (isMissing(error)) return null;
      throw error;
    }
  },
};

/**
 * Makes a folder and its parents. (Node's own recursive mkdir says ENOENT of a read-only file system, and never returns in /proc.)
 * @returns the topmost one that was missing, or undefined. @throws the system error that says why one cannot be made.
 */
export async function makeFolders(path: string, mode?: number): Promise<string | undefined> {
  const missing: string[] = [];
  for (let at = path; ; at = dirname(at)) {
    const facts = await nodeFileSystem.stat(at);
    if (facts?.isFolder) break;
    missing.unshift(at);
    if (facts) break; // A file: making it a folder says so.
  }
  for (const folder of missing) {
    await mkdir(folder, mode).catch(async (error: unknown) => {
      if (!(await nodeFileSystem.stat(folder))?.isFolder) throw error; // Else another process made it just now.
    });
  }
  return missing[0];
}

/** Whether a system error says that there is nothing by that name. */
export function isMissing(error: unknown): boolean {
  const code = (error as { code?: unknown } | null)?.code;
  return code === "ENOENT" || code === "ENOTDIR";
}

class NodeFile implements WritableFile {
  readonly #file: FileHandle;

  constructor(file: FileHandle) {
    this.#file = file;
  }

  async write(bytes: Uint8Array, offset: number): Promise<void> {
    let done = 0;
    while (done < bytes.length) {
      done += (await this.#file.write(bytes, done, bytes.length - done, offset + done)).bytesWritten;
    }
  }

  async sync(): Promise<void> {
    await this.#file.sync();
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}
