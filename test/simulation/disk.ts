// A machine's disk in memory: it outlives the processes that use it, unless the machine goes too. Each call is a step at which
// its process may be killed, so that files are left half written.

import type { FileSystem } from "../../src/store/file-system.js";
import type { SimulatedProcess } from "./process.js";

interface File {
  bytes: Uint8Array;
  readonly inode: bigint;
  modified: number;
  links: number;
}

/** Files by absolute path. Folders are whatever paths say. */
export class MemoryDisk {
  readonly files = new Map<string, File>();
  #inodes = 0n;

  /** The disk as a process sees it. */
  open(process: SimulatedProcess): FileSystem {
    const { files } = this;
    const step = () => process.wait(0);
    const find = (path: string) => {
      const file = files.get(path);
      if (!file) throw systemError("ENOENT", path);
      return file;
    };
    return {
      open: async (path, mode) => {
        await step();
        if (mode !== "update") {
          if (files.has(path)) throw systemError("EEXIST", path);
          files.set(path, {
            bytes: new Uint8Array(),
            inode: ++this.#inodes,
            modified: process.scheduler.now,
            links: 1,
          });
        }
        const file = find(path);
        return {
          write: async (bytes, offset) => {
            await step();
            writeAt(file, bytes, offset);
            file.modified = process.scheduler.now;
          },
          sync: step,
          close: async () => {},
        };
      },
      read: async (path, range) => {
        await step();
        return find(path).bytes.slice(range?.start ?? 0, range?.end);
      },
      link: async (from, to) => {
        await step();
        if (files.has(to)) throw systemError("EEXIST", to);
        const file = find(from);
        file.links += 1;
        files.set(to, file);
      },
      rename: async (from, to) => {
        await step();
        files.set(to, find(from));
        files.delete(from);
      },
      unlink: async (path) => {
        await step();
        find(path).links -= 1;
        files.delete(path);
      },
      makeFolder: async () => undefined,
      syncFolder: step,
      list: async (folder) => {
        await step();
        const names = [...files.keys()].filter((path) => path.startsWith(`${folder}/`));
        return [...new Set(names.map((path) => path.slice(folder.length + 1).replace(/\/.*/, "/")))].sort();
      },
      stat: async (path) => {
        await step();
        const file = files.get(path);
        if (!file) return null;
        const modifiedNs =
          BigInt(Math.floor(process.clock.date().getTime() - (process.scheduler.now - file.modified))) *
          1_000_000n;
        return { size: file.bytes.length, inode: file.inode, modifiedNs, links: file.links, isFolder: false };
      },
    };
  }

  /** A file's bytes, for what hashes and uploads it. @throws ENOENT. */
  read(path: string): Uint8Array {
    const file = this.files.get(path);
    if (!file) throw systemError("ENOENT", path);
    return file.bytes.slice();
  }

  /** Writes at once, as another process of the machine does. @throws ENOENT. */
  write(path: string, bytes: Uint8Array, offset: number): void {
    const file = this.files.get(path);
    if (!file) throw systemError("ENOENT", path);
    writeAt(file, bytes, offset);
  }
}

function writeAt(file: File, bytes: Uint8Array, offset: number): void {
  if (offset + bytes.length > file.bytes.length) {
    const longer = new Uint8Array(offset + bytes.length);
    longer.set(file.bytes);
    file.bytes = longer;
  }
  file.bytes.set(bytes, offset);
}

function systemError(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: '${path}'`), { code, path });
}
