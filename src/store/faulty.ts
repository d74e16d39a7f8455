// Stores and file systems that fail on purpose, for tests: one call, chosen by its number, fails before or after its
// effect, finds the disk full, or is the last one that the process makes. A sweep over all numbers asks of every call what
// the program does when that one fails.

import { SluiceError } from "../base/errors.js";
import type { FileSystem, WritableFile } from "./file-system.js";
import type { Body, NameRange, Store, Stored } from "./store.js";

/** How the chosen call fails. */
export type FaultKind =
  /** An error, and no effect. */
  | "refused"
  /** The effect takes place, but the reply is an error. */
  | "lost"
  /** As `lost`, but the store's driver has tried again by itself, and found the name taken. Stores only. */
  | "repeated"
  /** The disk is full from here on: half of a write arrives. File systems only. */
  | "full"
  /** The process is killed before the call: neither it nor any later one has an effect. */
  | "killed";

/** What the calls of a killed process are answered with, to end it. */
export class Killed extends Error {
  constructor() {
    super("killed");
    this.name = "Killed";
  }
}

/** Counts calls, and decides which of them fails. Shared by all wrappers of one worker. */
export class Faults {
  /** What each call was, such as `link tpu_0/shard_0001.json`. */
  readonly calls: string[] = [];
  readonly #at: (calls: readonly string[]) => boolean;
  readonly #kind: FaultKind;
  #hit: string | undefined;
  #isDead = false;
  #isFull = false;

  /** @param at the number of the call that fails, from 0, or whether the last of the calls so far does: the first such one. */
  constructor(at: number | ((calls: readonly string[]) => boolean) = -1, kind: FaultKind = "refused") {
    this.#at = typeof at === "number" ? (calls) => calls.length - 1 === at : at;
    this.#kind = kind;
  }

  /** The call that failed; undefined where there was none. */
  get hit(): string | undefined {
    return this.#hit;
  }

  /**
   * Makes a call, or fails it.
   * @param error what the caller is told. @param onRepeat the reply to a repeated call. @param onFull what a full disk still takes.
   */
  async run<T>(
    what: string,
    call: () => Promise<T>,
    error: (code: "EIO" | "ENOSPC") => Error,
    instead: { readonly onRepeat?: () => T; readonly onFull?: () => Promise<unknown> } = {},
  ): Promise<T> {
    if (this.#isDead) throw new Killed();
    this.calls.push(what);
    const isHit = this.#hit === undefined && this.#at(this.calls);
    if (isHit) this.#hit = what;
    if (isHit && this.#kind === "full") this.#isFull = true;
    if (this.#isFull && instead.onFull) {
      await instead.onFull();
      throw error("ENOSPC");
    }
    if (!isHit || this.#kind === "full") return call();
    if (this.#kind === "refused") throw error("EIO");
    this.#isDead = this.#kind === "killed";
    if (this.#isDead) throw new Killed();
    const reply = await call();
    if (this.#kind === "repeated") return instead.onRepeat ? instead.onRepeat() : reply;
    throw error("EIO");
  }
}

/** A {@link Store} whose calls go through {@link Faults}. A list is one call. */
export class FaultyStore implements Store {
  readonly uri: string;
  readonly spool: string | undefined;
  readonly #store: Store;
  readonly #faults: Faults;

  constructor(store: Store, faults: Faults) {
    this.#store = store;
    this.#faults = faults;
    this.uri = store.uri;
    this.spool = store.spool;
  }

  create(name: string, body: Body, options?: { signal?: AbortSignal }): Promise<Stored | "exists"> {
    return this.#run(
      `create ${name}`,
      () => this.#store.create(name, body, options),
      () => "exists",
    );
  }

  replace(name: string, body: Uint8Array, options?: { signal?: AbortSignal }): Promise<Stored> {
    return this.#run(`replace ${name}`, () => this.#store.replace(name, body, options));
  }

  head(name: string): Promise<Stored | null> {
    return this.#run(`head ${name}`, () => this.#store.head(name));
  }

  read(name: string, range?: { readonly start: number; readonly end: number }): Promise<Uint8Array> {
    return this.#run(`read ${name}`, () => this.#store.read(name, range));
  }

  async *list(prefix: string, range?: NameRange): AsyncGenerator<Stored> {
    yield* await this.#run(`list ${prefix}`, async () => {
      const found: Stored[] = [];
      for await (const stored of this.#store.list(prefix, range)) found.push(stored);
      return found;
    });
  }

  remove(name: string, version: string): Promise<void> {
    return this.#run(`remove ${name}`, () => this.#store.remove(name, version));
  }

  #run<T>(what: string, call: () => Promise<T>, onRepeat?: () => T): Promise<T> {
    const error = () => new SluiceError("store", `${this.uri} cannot be reached`, { found: `in ${what}` });
    return this.#faults.run(what, call, error, { onRepeat });
  }
}

/** A {@link FileSystem} whose calls go through {@link Faults}: also those of the files that it opens. */
export function faultyFileSystem(fs: FileSystem, faults: Faults): FileSystem {
  const run = <T>(call: string, path: string, action: () => Promise<T>, onFull?: () => Promise<unknown>) =>
    faults.run(
      `${call} ${path}`,
      action,
      (code) => Object.assign(new Error(`${code}: ${call} '${path}'`), { code, path }),
      { onFull },
    );
  const nothing = async () => {};
  const wrap = (path: string, file: WritableFile): WritableFile => ({
    write: (bytes, offset) =>
      run(
        "write",
        path,
        () => file.write(bytes, offset),
        () => file.write(bytes.subarray(0, bytes.length >> 1), offset),
      ),
    sync: () => run("sync", path, () => file.sync()),
    // The file is closed in any case: a test must not run out of descriptors.
    close: () => run("close", path, nothing).finally(() => file.close()),
  });
  return {
    open: async (path, mode) => {
      let file: WritableFile | undefined;
      const open = async () => {
        file = await fs.open(path, mode);
        return file;
      };
      try {
        return wrap(path, await run("open", path, open, mode === "update" ? undefined : nothing));
      } catch (error) {
        await file?.close();
        throw error;
      }
    },
    read: (path, range) => run("read", path, () => fs.read(path, range)),
    link: (from, to) => run("link", to, () => fs.link(from, to), nothing),
    rename: (from, to) => run("rename", to, () => fs.rename(from, to)),
    unlink: (path) => run("unlink", path, () => fs.unlink(path)),
    makeFolder: (path, mode) => run("makeFolder", path, () => fs.makeFolder(path, mode), nothing),
    syncFolder: (path) => run("syncFolder", path, () => fs.syncFolder(path)),
    list: (path) => run("list", path, () => fs.list(path)),
    stat: (path) => run("stat", path, () => fs.stat(path)),
  };
}
