// A store that counts its requests as a service would bill them, tells how long they take, and remembers when each name was written.

import type { Clock } from "../../src/base/clock.js";
import { PAGE } from "../../src/store/list-parallel.js";
import { MemoryStore } from "../../src/store/memory.js";
import { compareNames } from "../../src/store/names.js";
import { type Body, isInRange, type NameRange, type Stored } from "../../src/store/store.js";

/** Counts by kind: `create data`, `list`, `head` ... */
export type Requests = Record<string, number>;

/** What a {@link CountingStore} is like. */
export interface CountingOptions {
  readonly clock?: Pick<Clock, "now" | "sleep">;
  /** Of one request; none: at once. */
  readonly latencyMs?: number;
  /** Requests that are answered at the same time, at most. */
  readonly atOnce?: number;
}

/** A memory store that behaves as a remote one: no links, and a request for each page of a listing. */
export class CountingStore extends MemoryStore {
  readonly requests: Requests = {};
  /** Milliseconds of the writes of each name, of those that are written again. */
  readonly writes = new Map<string, number[]>();
  readonly #options: CountingOptions;
  readonly #names = new Set<string>();
  #sorted: string[] | undefined;
  readonly #queue: (() => void)[] = [];
  #open = 0;
  /** The most requests that were open at a time. */
  mostOpen = 0;

  constructor(options: CountingOptions = {}) {
    super();
    this.#options = options;
  }

  override async create(name: string, body: Body, options?: { signal?: AbortSignal }) {
    await this.#request(`create ${kindOf(name)}`);
    this.#note(name);
    return super.create(name, body, options);
  }

  override async replace(name: string, body: Uint8Array, options?: { signal?: AbortSignal }) {
    await this.#request(`replace ${kindOf(name)}`);
    this.#note(name);
    const times = this.writes.get(name) ?? [];
    this.writes.set(name, times);
    times.push(this.#options.clock?.now() ?? 0);
    return super.replace(name, body, options);
  }

  override async head(name: string) {
    await this.#request(`head ${kindOf(name)}`);
    return super.head(name);
  }

  override async read(name: string, range?: { readonly start: number; readonly end: number }) {
    await this.#request(`read ${kindOf(name)}`);
    return super.read(name, range);
  }

  override async *list(prefix: string, range?: NameRange): AsyncGenerator<Stored> {
    let left = 0;
    let isFirst = true;
    // As MemoryStore does, but with names that stay in order: a hundred thousand shards are listed in many ranges.
    this.#sorted ??= [...this.#names].sort(compareNames);
    const start = firstAtLeast(
      this.#sorted,
      range?.from && compareNames(range.from, prefix) > 0 ? range.from : prefix,
    );
    const names = this.#sorted;
    for (let i = start; i < names.length; i++) {
      const name = names[i] ?? "";
      if (!name.startsWith(prefix) || !isInRange(name, range)) break;
      const stored = await super.head(name);
      if (!stored) continue;
      if (left === 0) await this.#request("list");
      isFirst = false;
      left = left === 0 ? PAGE - 1 : left - 1;
      yield stored;
    }
    if (isFirst) await this.#request("list");
  }

  override async remove(name: string, version: string) {
    await this.#request(`remove ${kindOf(name)}`);
    return super.remove(name, version);
  }

  /** Puts an object there without a request. */
  fill(name: string, bytes: Uint8Array): void {
    this.#note(name);
    void super.replace(name, bytes);
  }

  #note(name: string): void {
    if (this.#names.has(name)) return;
    this.#names.add(name);
    this.#sorted = undefined;
  }

  /** All requests but those that carry data. */
  get overhead(): number {
    return Object.entries(this.requests).reduce(
      (sum, [kind, count]) => sum + (kind === "create data" ? 0 : count),
      0,
    );
  }

  async #request(kind: string): Promise<void> {
    this.requests[kind] = (this.requests[kind] ?? 0) + 1;
    const { clock, latencyMs = 0, atOnce = Number.POSITIVE_INFINITY } = this.#options;
    if (this.#open >= atOnce) await new Promise<void>((resolve) => this.#queue.push(resolve));
    this.#open += 1;
    this.mostOpen = Math.max(this.mostOpen, this.#open);
    if (latencyMs > 0)
      await (clock?.sleep(latencyMs) ?? new Promise((resolve) => setTimeout(resolve, latencyMs)));
    this.#open -= 1;
    this.#queue.shift()?.();
  }
}

function kindOf(name: string): string {
  if (/^tpu_\d+\/(alt\/)?shard_.*\.(safetensors|pkl\.gz)$/.test(name)) return "data";
  if (/^tpu_\d+\/shard_\d+\.json$/.test(name)) return "commit";
  if (/^tpu_\d+\/metadata.json$/.test(name)) return "metadata";
  if (/^tpu_\d+\/commits\//.test(name)) return "notes";
  return name.split("/")[0] ?? name;
}

function firstAtLeast(names: readonly string[], name: string): number {
  let [low, high] = [0, names.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (compareNames(names[middle] ?? "", name) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}
