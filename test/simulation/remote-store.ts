// A worker's driver for the simulated bucket: the retries are those of the real drivers; the way to the bucket is the
// simulation's, which loses, delays, repeats and tears what goes over it.

import { checkName } from "../../src/store/names.js";
import { RequestFailure, Retrier } from "../../src/store/retry.js";
import type { Body, Store, Stored } from "../../src/store/store.js";
import type { Bucket } from "./bucket.js";
import { InvariantBroken } from "./checker.js";
import type { Counts } from "./counts.js";
import type { MemoryDisk } from "./disk.js";
import type { RequestFault } from "./faults.js";
import type { SimulatedProcess } from "./process.js";

/** What is wrong with the way to the bucket, by now. */
export interface Weather {
  /** Probabilities of a request's faults; none once the weather is fine. */
  readonly requests: ReadonlyMap<RequestFault, number>;
  /** Whether the store answers nobody. */
  readonly isOut: boolean;
  /** Milliseconds by which a listing may be stale. */
  readonly staleness: number;
}

const SERVER_SPEED = 200_000; // bytes a millisecond

/** A {@link Store} over a bad line. */
export class RemoteStore implements Store {
  readonly uri: string;
  readonly #bucket: Bucket;
  readonly #process: SimulatedProcess;
  readonly #disk: MemoryDisk;
  readonly #weather: () => Weather;
  readonly #counts: Counts;
  readonly #retrier: Retrier;

  constructor(
    bucket: Bucket,
    process: SimulatedProcess,
    disk: MemoryDisk,
    weather: () => Weather,
    counts: Counts,
  ) {
    this.uri = bucket.uri;
    this.#bucket = bucket;
    this.#process = process;
    this.#disk = disk;
    this.#weather = weather;
    this.#counts = counts;
    this.#retrier = new Retrier({
      clock: process.clock,
      random: () => process.chance.real(),
      onRetry: () => counts.add("retries"),
    });
  }

  async create(name: string, body: Body, options: { signal?: AbortSignal } = {}): Promise<Stored | "exists"> {
    const bytes = body instanceof Uint8Array ? body.slice() : await this.#disk.read(body.file);
    const who = this.#process.name;
    let hasHappened = false;
    const create = () => {
      const result = this.#bucket.create(name, bytes, who);
      if (result !== "exists") hasHappened = true;
      return result;
    };
    const created = await this.#send("create", name, create, options.signal, bytes.length);
    if (created === "exists")
      this.#counts.add(`${kindOf(name)} ${hasHappened ? "found to be their own" : "taken by another"}`);
    return created;
  }

  replace(name: string, body: Uint8Array, options: { signal?: AbortSignal } = {}): Promise<Stored> {
    const bytes = body.slice();
    const replace = () => this.#bucket.replace(name, bytes, this.#process.name);
    return this.#send("replace", name, replace, options.signal);
  }

  head(name: string): Promise<Stored | null> {
    return this.#send("head", name, () => this.#bucket.head(name));
  }

  read(name: string, range?: { readonly start: number; readonly end: number }): Promise<Uint8Array> {
    return this.#send("read", name, () => this.#bucket.read(name, range));
  }

  async *list(prefix: string): AsyncGenerator<Stored> {
    const { staleness } = this.#weather();
    const age = staleness > 0 && this.#process.scheduler.chance.is(0.5) ? staleness : 0;
    if (age > 0) this.#counts.add("fault: stale listing");
    yield* await this.#send("list", prefix, () => this.#bucket.list(prefix, age));
  }

  remove(name: string, version: string): Promise<void> {
    return this.#send("remove", name, () => this.#bucket.remove(name, version, this.#process.name));
  }

  #send<T>(kind: string, name: string, effect: () => T, signal?: AbortSignal, size = 0): Promise<T> {
    if (kind !== "list") checkName(name);
    const uri = `${this.uri}/${name}`;
    return this.#retrier.run({ kind, uri }, () => this.#attempt(`${kind} ${name}`, kind, effect, size), {
      signal,
    });
  }

  /** One request: there, its effect, and back, if all goes well. */
  #attempt<T>(what: string, kind: string, effect: () => T, size: number): Promise<T> {
    const { chance } = this.#process.scheduler;
    const fault = this.#drawFault(kind);
    const slowness = fault === "slow" ? chance.between(100, 2000) : 1;
    const there = 2 + slowness * chance.around(15) + size / SERVER_SPEED;
    const back = 2 + slowness * chance.around(15);
    return new Promise<T>((resolve, reject) => {
      const fail = (ms: number, message: string, status?: number, retryAfterMs?: number) =>
        this.#process.deliver(ms, () => {
          this.#note(`<- ${what}: ${message}`);
          reject(new RequestFailure(message, { status, retryAfterMs, isRetryable: true }));
        });
      const reply = (ms: number, outcome: Outcome<T>) =>
        this.#process.deliver(ms, () => {
          this.#note(`<- ${what}: ${describe(outcome)}`);
          if ("error" in outcome) reject(outcome.error);
          else resolve(outcome.value);
        });
      /** The effect takes place whether or not the sender still lives; it waits for the answer meanwhile. */
      const happen = (ms: number, then: (outcome: Outcome<T>) => void) => {
        const release = this.#process.hold();
        this.#process.scheduler.plan(ms, () => {
          const outcome = attempt(effect);
          this.#note(`${what} = ${describe(outcome)}`);
          then(outcome);
          release();
        });
      };
      switch (fault) {
        case "unavailable":
          return fail(
            there + back,
            ...chance.pick<[string, number?]>([
              ["Service Unavailable", 503],
              ["Too Many Requests", 429],
              ["Internal Error", 500],
              ["ECONNREFUSED"],
            ]),
          );
        case "throttled":
          return fail(there + back, "Slow Down", 429, chance.between(1_000, 120_000));
        case "conflict":
          return fail(there + back, "ConditionalRequestConflict", 409);
        case "lost reply":
          return happen(there, () => fail(back, "ECONNRESET"));
        case "sent twice":
          happen(there, () => {});
          return happen(there + chance.around(200), (outcome) => reply(back, outcome));
        case "stall":
          this.#process.hold();
          if (chance.is(0.5)) happen(there, () => {});
          return;
        case "late":
          fail(there + back, "ECONNRESET");
          return happen(chance.pick([1e3, 1e4, 1e5, 3e6]) * chance.real(), () => {});
        case "torn read":
          return happen(there, () => fail(back, "ERR_STREAM_PREMATURE_CLOSE"));
        case "killed in a request": {
          const isBefore = chance.is(0.3);
          this.#process.scheduler.plan(there + (isBefore ? -1 : back / 2), () => this.#process.kill());
          this.#process.hold();
          if (isBefore && chance.is(0.5)) return; // What was on its way is lost with it.
          return happen(there, (outcome) => reply(back, outcome));
        }
        default:
          return happen(there, (outcome) => reply(back, outcome));
      }
    });
  }

  #drawFault(kind: string): RequestFault | undefined {
    const { chance } = this.#process.scheduler;
    const { isOut, requests } = this.#weather();
    if (isOut) return "unavailable";
    for (const [fault, probability] of requests) {
      if (!chance.is(probability)) continue;
      if (fault === "torn read" && kind !== "read" && kind !== "list") continue;
      if (fault === "conflict" && kind !== "create") continue;
      this.#counts.add(`fault: ${fault}`);
      return fault;
    }
    return undefined;
  }

  #note(what: string): void {
    this.#process.scheduler.note(this.#process.name, what);
  }
}

/** What an object is, for the counts. */
function kindOf(name: string): string {
  if (/^tpu_\d+\/shard_\d+\.json$/.test(name)) return "commits";
  if (name.startsWith("tpu_")) return "data";
  return name.startsWith("leases/") ? "leases" : "files of the run";
}

type Outcome<T> = { readonly value: T } | { readonly error: unknown };

function attempt<T>(effect: () => T): Outcome<T> {
  try {
    return { value: effect() };
  } catch (error) {
    if (error instanceof InvariantBroken) throw error;
    return { error };
  }
}

function describe(outcome: Outcome<unknown>): string {
  if ("error" in outcome)
    return String(outcome.error instanceof Error ? outcome.error.message : outcome.error);
  const { value } = outcome;
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  if (Array.isArray(value)) return `${value.length} objects`;
  if (typeof value === "object" && value !== null && "version" in value) return `version ${value.version}`;
  return String(value);
}
