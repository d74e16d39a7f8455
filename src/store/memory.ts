// A store in memory: the slow, obvious reference that the others are tested against.

import { readFile } from "node:fs/promises";
import { crc32c } from "@node-rs/crc32";
import { formatCrc } from "../base/crc.js";
import { SluiceError } from "../base/errors.js";
import { checkName, compareNames } from "./names.js";
import { type Body, isInRange, type NameRange, type Store, type Stored } from "./store.js";

/** A {@link Store} whose objects live as long as it does. */
export class MemoryStore implements Store {
  readonly uri = "memory:";
  readonly #objects = new Map<string, { bytes: Uint8Array; stored: Stored }>();
  #versions = 0;

  async create(name: string, body: Body, options: { signal?: AbortSignal } = {}): Promise<Stored | "exists"> {
    options.signal?.throwIfAborted();
    const bytes = body instanceof Uint8Array ? body.slice() : new Uint8Array(await readFile(body.file));
    if (this.#objects.has(checkName(name))) return "exists";
    return this.#put(name, bytes);
  }

  async replace(name: string, body: Uint8Array, options: { signal?: AbortSignal } = {}): Promise<Stored> {
    options.signal?.throwIfAborted();
    return this.#put(checkName(name), body.slice());
  }

  async head(name: string): Promise<Stored | null> {
    return this.#objects.get(checkName(name))?.stored ?? null;
  }

  async read(name: string, range?: { readonly start: number; readonly end: number }): Promise<Uint8Array> {
    const object = this.#objects.get(checkName(name));
    const end = range?.end ?? object?.bytes.length ?? 0;
    if (!object || object.bytes.length < end)
      throw missingObject(this.uri, name, object?.bytes.length, range);
    return object.bytes.slice(range?.start ?? 0, end);
  }

  async *list(prefix: string, range?: NameRange): AsyncGenerator<Stored> {
    const isWanted = (name: string) => name.startsWith(prefix) && isInRange(name, range);
    const names = [...this.#objects.keys()].filter(isWanted).sort(compareNames);
    for (const name of names) {
      const object = this.#objects.get(name);
      if (object) yield object.stored;
    }
  }

  async remove(name: string, version: string): Promise<void> {
    if (this.#objects.get(checkName(name))?.stored.version === version) this.#objects.delete(name);
  }

  #put(name: string, bytes: Uint8Array): Stored {
    const stored = {
      name,
      size: bytes.length,
      version: String(++this.#versions),
      crc32c: formatCrc(crc32c(bytes)),
    };
    this.#objects.set(name, { bytes, stored });
    return stored;
  }
}

/** The error of reading what is not there. */
export function missingObject(
  uri: string,
  name: string,
  size: number | undefined,
  range: { readonly start: number; readonly end: number } | undefined,
): SluiceError {
  return new SluiceError("data", `${uri}/${name} ${size === undefined ? "is missing" : "is too short"}`, {
    found: size === undefined ? "no such object" : `${size} bytes`,
    expected: range ? `bytes ${range.start} to ${range.end}` : "an object by that name",
    values: { name },
  });
}
