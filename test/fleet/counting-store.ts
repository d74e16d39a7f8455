// A store that counts its requests as a service would bill them, tells how long they take, and remembers when each name was written.

import type { Clock } from "../../src/base/clock.js";
import { PAGE } from "../../src/store/list-parallel.js";
import { MemoryStore } from "../../src/store/memory.js";
import type { Body, NameRange, Stored } from "../../src/store/store.js";

/** Counts by kind: `create data`, `list`, `head` ... */
export type Requests = Record<string, number>;

/** What a {@link CountingStore} is like. */
export interface CountingOptions {
  readonly clock?: Clock;
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
    return super.create(name, body, options);
  }

  override async replace(name: string, body: Uint8Array, options?: { signal?: AbortSignal }) {
    await this.#request(`replace ${kindOf(name)}`);
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
    for await (const stored of super.list(prefix, range)) {
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
  return name.split("/")[0] ?? name;
}
