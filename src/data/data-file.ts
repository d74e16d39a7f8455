// Files of a dataset, wherever they lie: on a disk of this machine, or in a bucket, where every read is a request for a range.
// A path is then an address such as `gs://bucket/prompts/train.jsonl`.

import { open, readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { SluiceError, systemCode } from "../base/errors.js";
import { parseBucketUri, schemeOf } from "../store/bucket-uri.js";
import type { Store } from "../store/store.js";

/** Shorter reads are no passes over a file. */
const AHEAD_BYTES = 1 << 20;

/** A file, open for reading: Node's `FileHandle`, or a bucket's object. */
export interface DataFile {
  /** Reads at a place; fewer bytes than asked for at the end alone. */
  read(buffer: Uint8Array, offset: number, length: number, position: number): Promise<{ bytesRead: number }>;
  stat(): Promise<{ size: number }>;
  close(): Promise<void>;
}

/** What is at a path. */
export interface DataFacts {
  readonly size: number;
  readonly isFolder: boolean;
  /** Whether it can be read at any place, and again: a pipe or a device cannot. */
  readonly isFile: boolean;
  /** Changes whenever the content does. */
  readonly version: string;
}

/** Whether a dataset's path is an address in a bucket. */
export function isRemotePath(path: string): boolean {
  return schemeOf(path) !== undefined;
}

/** @throws SluiceError as the store's head, `config` for a pipe or a device; the system's error. */
export async function openData(path: string): Promise<DataFile> {
  if (!isRemotePath(path)) {
    // A pipe is open only when somebody writes to it: the thread that opens it would wait, for ever and deaf to everything.
    if (!(await stat(path)).isFile()) throw noRegularFile(path);
    return open(path, "r");
  }
  const { store, name } = await placeOf(path);
  const stored = await store.head(name);
  if (stored === null) throw absent(path);
  return new RemoteFile(store, name, stored.size);
}

/** Null where there is nothing. A folder of a bucket is there while anything is in it. */
export async function statData(path: string): Promise<DataFacts | null> {
  if (!isRemotePath(path)) {
    const facts = await stat(path, { bigint: true }).catch((cause: unknown) => {
      if (systemCode(cause) !== "ENOENT" && systemCode(cause) !== "ENOTDIR") throw cause;
      return null;
    });
    if (!facts) return null;
    const { size, mtimeNs, ino } = facts;
    const version = `${mtimeNs} ${size} ${ino}`;
    return { size: Number(size), isFolder: facts.isDirectory(), isFile: facts.isFile(), version };
  }
  const { store, name } = await placeOf(path);
  const stored = name === "" ? null : await store.head(name);
  if (stored) return { size: stored.size, isFolder: false, isFile: true, version: stored.version };
  for await (const _ of store.list(name === "" ? "" : `${name}/`))
    return { size: 0, isFolder: true, isFile: false, version: "" };
  return null;
}

/** A whole file, as text. @throws as {@link openData}. */
export async function readDataText(path: string): Promise<string> {
  if (!isRemotePath(path)) return readFile(path, "utf8");
  const { store, name } = await placeOf(path);
  return Buffer.from(await store.read(name)).toString("utf8");
}

/** The names of the files in a folder; of a folder on a disk, also those of the folders in it. */
export async function listData(folder: string): Promise<string[]> {
  if (!isRemotePath(folder)) return readdir(folder);
  const names = await listAll(folder);
  return names.filter((name) => !name.includes("/"));
}

/** The paths of all files below a folder of a bucket, relative to it. */
export async function listAll(folder: string): Promise<string[]> {
  const { store, name } = await placeOf(folder);
  const prefix = name === "" ? "" : `${name}/`;
  const names: string[] = [];
  for await (const stored of store.list(prefix)) names.push(stored.name.slice(prefix.length));
  return names;
}

/** The path of a file in a folder. */
export function joinData(folder: string, name: string): string {
  return isRemotePath(folder) ? `${folder.replace(/\/+$/, "")}/${name}` : join(folder, name);
}

/** A file's bytes from its start, in pieces. */
export async function* readForward(path: string, pieceBytes: number): AsyncGenerator<Buffer> {
  const file = await openData(path);
  try {
    for (let position = 0; ; ) {
      const piece = Buffer.allocUnsafe(pieceBytes);
      const { bytesRead } = await file.read(piece, 0, pieceBytes, position);
      if (bytesRead === 0) return;
      yield piece.subarray(0, bytesRead);
      position += bytesRead;
    }
  } finally {
    await file.close();
  }
}

/** An object, with the size that it had when it was opened. Whoever reads forward in large pieces finds the next one on its way. */
class RemoteFile implements DataFile {
  readonly #store: Store;
  readonly #name: string;
  readonly #size: number;
  /** Where the last read ended. */
  #end = -1;
  #ahead: { readonly start: number; readonly end: number; readonly bytes: Promise<Uint8Array> } | undefined;

  constructor(store: Store, name: string, size: number) {
    this.#store = store;
    this.#name = name;
    this.#size = size;
  }

  async read(buffer: Uint8Array, offset: number, length: number, position: number) {
    const end = Math.min(this.#size, position + length);
    if (position >= end) return { bytesRead: 0 };
    const isForward = position === this.#end && length >= AHEAD_BYTES;
    const reading = this.#take(position, end);
    this.#end = end;
    if (isForward && end < this.#size) {
      const range = { start: end, end: Math.min(this.#size, end + length) };
      const bytes = this.#store.read(this.#name, range);
      bytes.catch(() => {}); // Raised when it is its turn.
      this.#ahead = { ...range, bytes };
    }
    const bytes = await reading;
    buffer.set(bytes, offset);
    return { bytesRead: bytes.length };
  }

  #take(start: number, end: number): Promise<Uint8Array> {
    const ahead = this.#ahead;
    this.#ahead = undefined;
    if (ahead?.start === start && ahead.end === end) return ahead.bytes;
    return this.#store.read(this.#name, { start, end });
  }

  async stat() {
    return { size: this.#size };
  }

  async close() {
    this.#ahead = undefined;
  }
}

/** One a bucket: its connections are kept. */
const stores = new Map<string, Store>();

async function placeOf(path: string): Promise<{ readonly store: Store; readonly name: string }> {
  // Only for buckets: every thread that reads a dataset would load all drivers.
  const { openStore } = await import("../store/stores.js");
  const scheme = schemeOf(path);
  if (scheme !== "gs" && scheme !== "s3") openStore(path); // Says what there is instead.
  const { bucket, prefix } = parseBucketUri(path);
  const root = `${scheme}://${bucket}`;
  const store = stores.get(root) ?? openStore(root);
  stores.set(root, store);
  return { store, name: prefix.replace(/\/$/, "") };
}

/** A pipe or a device in the place of a dataset's file. */
export function noRegularFile(path: string): SluiceError {
  return new SluiceError("config", `the dataset ${path} is no regular file`, {
    found: "a pipe, a socket or a device",
    expected: "a file, which is read at any place and more than once",
    fix: "Write it to a file first.",
  });
}

/** As the system says it of a disk. */
function absent(path: string): Error {
  return Object.assign(new Error(`ENOENT: no such object, open '${path}'`), {
    code: "ENOENT",
    path,
    syscall: "open",
  });
}
