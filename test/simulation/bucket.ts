// The object store's own side: what is there, decided at one moment for each request, as GCS and S3 promise; only listings
// may be stale. It remembers what was there before, and shows every change to whoever watches.

import { crc32c } from "@node-rs/crc32";
import { formatCrc } from "../../src/base/crc.js";
import { missingObject } from "../../src/store/memory.js";
import type { Stored } from "../../src/store/store.js";

/** An object, and when it came and went. */
interface Version {
  readonly bytes: Uint8Array;
  readonly stored: Stored;
  readonly since: number;
  until: number;
}

/** A change, shown before it takes place. */
export type Change =
  | { readonly kind: "create"; readonly name: string; readonly bytes: Uint8Array }
  | { readonly kind: "replace"; readonly name: string; readonly bytes: Uint8Array }
  | { readonly kind: "remove"; readonly name: string };

/** The objects of one bucket. */
export class Bucket {
  readonly uri = "sim://bucket/run";
  readonly #now: () => number;
  readonly #objects = new Map<string, Version>();
  /** What was removed or replaced. */
  readonly #past: Version[] = [];
  readonly #watchers: ((change: Change, who: string) => void)[] = [];
  #versions = 0;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** @param watcher gets each change, and who made it; may throw. */
  watch(watcher: (change: Change, who: string) => void): void {
    this.#watchers.push(watcher);
  }

  create(name: string, bytes: Uint8Array, who: string): Stored | "exists" {
    if (this.#objects.has(name)) return "exists";
    this.#show({ kind: "create", name, bytes }, who);
    return this.#put(name, bytes);
  }

  replace(name: string, bytes: Uint8Array, who: string): Stored {
    this.#show({ kind: "replace", name, bytes }, who);
    this.#bury(name);
    return this.#put(name, bytes);
  }

  head(name: string): Stored | null {
    return this.#objects.get(name)?.stored ?? null;
  }

  /** @throws SluiceError as a store does. */
  read(name: string, range?: { readonly start: number; readonly end: number }): Uint8Array {
    const object = this.#objects.get(name);
    const end = range?.end ?? object?.bytes.length ?? 0;
    if (!object || object.bytes.length < end)
      throw missingObject(this.uri, name, object?.bytes.length, range);
    return object.bytes.slice(range?.start ?? 0, end);
  }

  /** Removes it if it still has that version. @param version undefined for whichever is there. */
  remove(name: string, version: string | undefined, who: string): void {
    const there = this.#objects.get(name);
    if (!there || (version !== undefined && there.stored.version !== version)) return;
    this.#show({ kind: "remove", name }, who);
    this.#bury(name);
  }

  /** @param age milliseconds: the listing is that of so long ago. */
  list(prefix: string, age: number): Stored[] {
    const at = this.#now() - age;
    const there = (version: Version) =>
      version.stored.name.startsWith(prefix) && version.since <= at && version.until > at;
    const found = [...this.#objects.values()].filter(there);
    if (age > 0) found.push(...this.#past.filter(there));
    return found.map(({ stored }) => stored).sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** All names, in order. */
  names(): string[] {
    return [...this.#objects.keys()].sort();
  }

  /** Gives every object a new version, as copying a bucket does. */
  copyAll(): void {
    for (const [name, { bytes }] of [...this.#objects]) this.#put(name, bytes);
  }

  #put(name: string, bytes: Uint8Array): Stored {
    const stored = {
      name,
      size: bytes.length,
      version: String(++this.#versions),
      crc32c: formatCrc(crc32c(bytes)),
    };
    this.#objects.set(name, { bytes, stored, since: this.#now(), until: Number.POSITIVE_INFINITY });
    return stored;
  }

  #bury(name: string): void {
    const there = this.#objects.get(name);
    if (!there) return;
    there.until = this.#now();
    this.#past.push(there);
    this.#objects.delete(name);
  }

  #show(change: Change, who: string): void {
    for (const watcher of this.#watchers) watcher(change, who);
  }
}
