// A folder as a store. Create-only is `link()` of a durable temporary file, then fsync of the folder: an exclusive open
// could leave an empty object for ever, and a rename would overwrite.

import { copyFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { crc32c } from "@node-rs/crc32";
import { formatCrc } from "../base/crc.js";
import { SluiceError, systemCode } from "../base/errors.js";
import { explainDiskError } from "./disk-errors.js";
import { type FileFacts, type FileSystem, isMissing, nodeFileSystem } from "./file-system.js";
import { missingObject } from "./memory.js";
import { checkName, compareNames } from "./names.js";
import { type Body, isInRange, type NameRange, type Store, type Stored } from "./store.js";
import { temporaryName } from "./temporary.js";

/** Where temporary files lie inside the store; never listed. */
export const TEMPORARY_FOLDER = ".tmp";
const NO_LINKS = ["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK"];
const STATS_AT_ONCE = 64;

/** A {@link Store} in a local or shared folder. */
export class FileStore implements Store {
  readonly uri: string;
  /** Finished files from here become objects without a copy. */
  readonly spool: string;
  readonly #fs: FileSystem;
  /** Folders known to exist, durably. */
  readonly #folders = new Set<string>();

  /** @param folder made where it is missing, with the first object. */
  constructor(folder: string, fs: FileSystem = nodeFileSystem) {
    this.uri = resolve(folder);
    this.spool = join(this.uri, TEMPORARY_FOLDER);
    this.#fs = fs;
  }

  async create(name: string, body: Body, options: { signal?: AbortSignal } = {}): Promise<Stored | "exists"> {
    options.signal?.throwIfAborted();
    const path = this.#path(name);
    return this.#explain(path, async () => {
      await this.#makeFolder(dirname(path));
      if (body instanceof Uint8Array)
        return this.#withTemporary(body, (from) => this.#link(from, name, path, formatCrc(crc32c(body))));
      await this.#sync(body.file);
      return this.#link(body.file, name, path, body.crc32c);
    });
  }

  async replace(name: string, body: Uint8Array, options: { signal?: AbortSignal } = {}): Promise<Stored> {
    options.signal?.throwIfAborted();
    const path = this.#path(name);
    return this.#explain(path, async () => {
      await this.#makeFolder(dirname(path));
      await this.#withTemporary(body, (from) => this.#fs.rename(from, path));
      await this.#fs.syncFolder(dirname(path));
      return (await this.head(name)) ?? { name, size: body.length, version: "" };
    });
  }

  async head(name: string): Promise<Stored | null> {
    const facts = await this.#explain(this.#path(name), () => this.#fs.stat(this.#path(name)));
    return facts === null || facts.isFolder ? null : describe(name, facts);
  }

  async read(name: string, range?: { readonly start: number; readonly end: number }): Promise<Uint8Array> {
    const path = this.#path(name);
    try {
      const bytes = await this.#explain(path, () => this.#fs.read(path, range));
      if (!range || bytes.length === range.end - range.start) return bytes;
      throw missingObject(this.uri, name, (await this.#fs.stat(path))?.size, range);
    } catch (error) {
      throw isMissing((error as { cause?: unknown }).cause ?? error)
        ? missingObject(this.uri, name, undefined, range)
        : error;
    }
  }

  async *list(prefix: string, range?: NameRange): AsyncGenerator<Stored> {
    const slash = prefix.lastIndexOf("/");
    for await (const stored of this.#walk(slash < 0 ? "" : prefix.slice(0, slash + 1), prefix))
      if (isInRange(stored.name, range)) yield stored;
  }

  async remove(name: string, version: string): Promise<void> {
    const path = this.#path(name);
    await this.#explain(path, async () => {
      if ((await this.head(name))?.version !== version) return;
      await this.#fs.unlink(path).catch((error: unknown) => {
        if (!isMissing(error)) throw error;
      });
    });
  }

  /** @param folder '' or ending in a slash. */
  async *#walk(folder: string, prefix: string): AsyncGenerator<Stored> {
    const entries = await this.#explain(this.uri, () => this.#fs.list(join(this.uri, folder)));
    const names = entries
      .map((entry) => folder + entry)
      .filter(
        (name) =>
          name !== `${TEMPORARY_FOLDER}/` &&
          (name.startsWith(prefix) || (name.endsWith("/") && prefix.startsWith(name))),
      )
      .sort(compareNames);
    for (let i = 0; i < names.length; i += STATS_AT_ONCE) {
      const some = names.slice(i, i + STATS_AT_ONCE);
      const facts = await this.#explain(this.uri, () =>
        Promise.all(some.map((name) => (name.endsWith("/") ? null : this.#fs.stat(join(this.uri, name))))),
      );
      for (const [k, name] of some.entries()) {
        const found = facts[k];
        if (name.endsWith("/")) yield* this.#walk(name, prefix);
        else if (found) yield describe(name, found);
      }
    }
  }

  async #withTemporary<T>(bytes: Uint8Array, use: (path: string) => Promise<T>): Promise<T> {
    await this.#makeFolder(this.spool);
    const path = join(this.spool, temporaryName());
    const file = await this.#fs.open(path, "create");
    try {
      try {
        await file.write(bytes, 0);
        await file.sync();
      } finally {
        await file.close();
      }
      return await use(path);
    } finally {
      await this.#fs.unlink(path).catch(() => {}); // Renamed away, or for a later start to clean.
    }
  }

  /** Links a durable file to its name; NFS may say EEXIST of a link that was made, and its reply was lost. */
  async #link(from: string, name: string, path: string, crc: string): Promise<Stored | "exists"> {
    // What it says of the object are the facts of the file itself: by the time a worker that was stopped here goes on, somebody may have
    // removed the name again, as is done with a lease whose holder is silent.
    const source = await this.#fs.stat(from);
    try {
      await this.#fs.link(from, path);
    } catch (error) {
      const code = systemCode(error);
      if (code === "EXDEV") return this.#linkCopy(from, name, path, crc);
      if (code !== undefined && NO_LINKS.includes(code)) throw cannotLink(this.uri, error);
      if (code !== "EEXIST") throw error;
      const [ours, there] = [await this.#fs.stat(from), await this.#fs.stat(path)];
      // A link of this very attempt: the file had one name before, and has two now. More, or another file, is somebody's.
      const isOurs = ours && there && ours.inode === there.inode && ours.links === (source?.links ?? 0) + 1;
      if (!isOurs) {
        // Whoever made it may have been killed before it was durable, and the caller is about to rely on it.
        await this.#fs.syncFolder(dirname(path));
        return "exists";
      }
    }
    await this.#fs.syncFolder(dirname(path));
    if (!source)
      throw new SluiceError("store", `${from} vanished before it became ${path}`, {
        fix: "Leave the spool folder alone while workers run, and start again.",
      });
    return { ...describe(name, source), crc32c: crc };
  }

  /** The spool lies on another disk: a copy on this one is linked instead. */
  async #linkCopy(from: string, name: string, path: string, crc: string): Promise<Stored | "exists"> {
    await this.#makeFolder(this.spool);
    const copy = join(this.spool, temporaryName());
    try {
      await copyFile(from, copy);
      await this.#sync(copy);
      return await this.#link(copy, name, path, crc);
    } finally {
      await this.#fs.unlink(copy).catch(() => {});
    }
  }

  async #sync(path: string): Promise<void> {
    const file = await this.#fs.open(path, "update");
    try {
      await file.sync();
    } finally {
      await file.close();
    }
  }

  /** Makes a folder whose entry, and whose new parents' entries, survive a power cut. */
  async #makeFolder(path: string): Promise<void> {
    if (this.#folders.has(path) && (await this.#fs.stat(path))) return;
    const first = await this.#fs.makeFolder(path);
    // Below the root also those that were there: another worker may have made them a moment ago, and not synced them yet.
    const shortest = Math.min(first?.length ?? Number.POSITIVE_INFINITY, this.uri.length + 1);
    for (let folder = path; folder.length >= shortest; folder = dirname(folder))
      await this.#fs.syncFolder(dirname(folder));
    this.#folders.add(path);
  }

  #path(name: string): string {
    return join(this.uri, checkName(name));
  }

  /** Turns system errors into those that say what to do. */
  async #explain<T>(path: string, action: () => Promise<T>): Promise<T> {
    try {
      return await action();
    } catch (cause) {
      throw explainDiskError(cause, { disk: this.uri, path, flag: "--output" });
    }
  }
}

function describe(name: string, facts: FileFacts): Stored {
  return { name, size: facts.size, version: `${facts.inode}-${facts.size}-${facts.modifiedNs}` };
}

function cannotLink(uri: string, cause: unknown): SluiceError {
  return new SluiceError("config", `the file system of ${uri} has no hard links, which create-only needs`, {
    found: systemCode(cause),
    fix: "Name an --output on another file system (ext4, xfs, NFS), or an object store.",
    cause,
  });
}
