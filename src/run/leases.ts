// Leases say who works on what, so that workers seldom compute the same unit twice. They are efficiency only: a commit is
// correct whoever holds what. No two clocks are ever compared: a holder is taken for dead when its heartbeat has not
// changed between two looks that are --lease-seconds apart on the observer's own clock, or its process has vanished here.

import { z } from "zod";
import { type Clock, realClock } from "../base/clock.js";
import { parseJsonBytes } from "../base/parse-json.js";
import {
  type Processes,
  type ProcessIdentity,
  processIdentitySchema,
  realProcesses,
} from "../base/process-identity.js";
import { type Unit, unitName } from "../plan/unit.js";
import type { Store, Stored } from "../store/store.js";

/** What a lease object says of its holder. */
export const leaseSchema = z.object({ worker: z.string(), process: processIdentitySchema.nullable() });
/** `leases/<what>.<epoch>`. */
export const LEASE_NAME = /^leases\/(.+)\.(\d+)$/;
/** `leases/<unit>.failed.<n>`. */
export const FAILED_NAME = /^leases\/(.+)\.failed\.(\d+)$/;
const ENDED = new Set(["complete", "preempted", "failed"]);

/** A lease this worker holds. */
export interface Lease {
  /** What is leased: a unit's name, or `create`. */
  readonly what: string;
  /** The lease object's name and version. */
  readonly name: string;
  readonly version: string;
}

/** Whose leases, and how long a silent holder is believed. */
export interface LeaseOptions {
  /** This worker's uuid; its heartbeat is `workers/<uuid>.json`. */
  readonly worker: string;
  readonly process: ProcessIdentity | null;
  readonly leaseSeconds: number;
  /**
   * Leases and heartbeats of others that are read between two looks, at most (default: all); and, after the first look, only
   * where a lease has been there, or some worker silent, for a lease time. Who has not been read yet is taken to be alive: a thousand workers that wait for
   * the last units must not read each other's all at once.
   */
  readonly readsPerLook?: number;
  readonly clock?: Clock;
  readonly processes?: Processes;
}

interface Holder {
  readonly epoch: number;
  /** Its version is empty where it has been found to be there and has not been looked at. */
  readonly stored: Stored;
  /** When it was seen first, by the own clock. */
  readonly since: number;
}

/** The leases of a run as one worker sees them. */
export class Leases {
  readonly #store: Store;
  readonly #options: Required<LeaseOptions>;
  /** Highest epoch seen of each lease, by what is leased. */
  #holders = new Map<string, Holder>();
  #failures = new Map<string, number>();
  /** Heartbeats: version, and since when (own clock) it has been that. */
  readonly #beats = new Map<string, { version: string; since: number }>();
  #owners = new Map<string, z.infer<typeof leaseSchema> | null>();
  readonly #ended = new Set<string>();
  /** When heartbeats were looked at first; undefined before. */
  #firstHeard: number | undefined;
  /** Workers whose heartbeat has been read, and the version that was. */
  readonly #heard = new Map<string, string>();
  /** Reads left until the next look. */
  #reads: number;
  #looks = 0;
  /** Whether the last look found a worker that has been silent for a lease time, and has not said that it ended. */
  #isAnyoneSilent = false;
  readonly #held = new Map<string, Lease>();
  /** What is being given up just now. */
  readonly #releasing = new Set<Promise<void>>();

  constructor(store: Store, options: LeaseOptions) {
    this.#store = store;
    this.#options = {
      clock: realClock,
      processes: realProcesses,
      readsPerLook: Number.POSITIVE_INFINITY,
      ...options,
    };
    this.#reads = this.#options.readsPerLook;
  }

  /** Looks at all leases and heartbeats. Call it now and then: a holder's silence is measured between looks. */
  async refresh(): Promise<void> {
    const now = this.#options.clock.now();
    const [leases] = await Promise.all([this.#listLeases(), this.#listen(now)]);
    const holders = new Map<string, Holder>();
    const failures = new Map<string, number>();
    for (const stored of leases) {
      const failed = FAILED_NAME.exec(stored.name);
      if (failed?.[1]) {
        failures.set(failed[1], (failures.get(failed[1]) ?? 0) + 1);
        continue;
      }
      const lease = LEASE_NAME.exec(stored.name);
      if (!lease?.[1]) continue;
      const epoch = Number(lease[2]);
      const known = holders.get(lease[1]);
      if (known && known.epoch >= epoch) continue;
      const before = this.#holders.get(lease[1]);
      const isSame = before !== undefined && keyOf(before.stored) === keyOf(stored);
      holders.set(lease[1], { epoch, stored, since: isSame ? before.since : now });
    }
    const owners = new Map<string, z.infer<typeof leaseSchema> | null>();
    for (const { stored } of holders.values()) {
      const owner = this.#owners.get(keyOf(stored));
      if (owner !== undefined) owners.set(keyOf(stored), owner);
    }
    this.#owners = owners;
    this.#holders = holders;
    this.#failures = failures;
    this.#reads = this.#options.readsPerLook;
    this.#looks += 1;
    this.#isAnyoneSilent = [...this.#beats].some(
      ([worker, { since }]) => now - since >= this.#options.leaseSeconds * 1000 && !this.#ended.has(worker),
    );
  }

  async #listLeases(): Promise<readonly Stored[]> {
    const leases: Stored[] = [];
    for await (const stored of this.#store.list("leases/")) leases.push(stored);
    return leases;
  }

  /** Looks at all heartbeats. */
  async #listen(now: number): Promise<void> {
    this.#firstHeard ??= now;
    for await (const stored of this.#store.list("workers/"))
      this.#note(stored.name.slice("workers/".length, -".json".length), stored.version, now);
  }

  /** Whether, since the first look, another worker's heart has beaten. Looks once more where none is known to have. */
  async sawOthers(): Promise<boolean> {
    const saw = () =>
      [...this.#beats].some(
        ([worker, { since }]) => worker !== this.#options.worker && since !== this.#firstHeard,
      );
    if (!saw()) await this.#listen(this.#options.clock.now());
    return saw();
  }

  /**
   * Takes the lease unless somebody else, alive by the last look, holds it.
   * @returns null where it is held, or was taken by another in this moment.
   */
  async claim(what: string): Promise<Lease | null> {
    if (this.#held.has(what)) return null;
    const holder = this.#holders.get(what);
    if (holder && !(await this.isDead(what))) return null;
    const name = `leases/${what}.${holder ? holder.epoch + 1 : 0}`;
    const body = Buffer.from(
      JSON.stringify({ worker: this.#options.worker, process: this.#options.process }),
    );
    const created = await this.#store.create(name, body);
    if (created === "exists") {
      // Whose it is will be asked after the next look, where requests count.
      const stored = this.#isFrugal ? { name, size: 0, version: "" } : await this.#store.head(name);
      const since = this.#options.clock.now();
      if (stored) this.#holders.set(what, { epoch: holder ? holder.epoch + 1 : 0, stored, since });
      return null;
    }
    const lease = { what, name, version: created.version };
    this.#held.set(what, lease);
    if (holder) await this.#store.remove(holder.stored.name, holder.stored.version);
    return lease;
  }

  /** Gives the lease up; no error where it is gone. */
  async release(lease: Lease): Promise<void> {
    this.#held.delete(lease.what);
    this.#holders.delete(lease.what);
    const releasing = this.#store.remove(lease.name, lease.version);
    this.#releasing.add(releasing);
    await releasing.finally(() => this.#releasing.delete(releasing));
  }

  /** Gives up all that this worker holds; resolves when also what was being given up already is gone. */
  async releaseAll(): Promise<void> {
    const own = [...this.#held.values()].map((lease) => this.release(lease));
    await Promise.all([...own, ...this.#releasing]);
  }

  /** Whether it was leased at the last look, or has been found to be since, by whomever. */
  isLeased(what: string): boolean {
    return this.#holders.has(what);
  }

  /** What was leased at the last look, by whomever. */
  held(): Iterable<string> {
    return this.#holders.keys();
  }

  /** Whether somebody else held it at the last look and is not known to be dead. */
  async isHeld(what: string): Promise<boolean> {
    return this.#holders.has(what) && !(await this.isDead(what));
  }

  /** Whether the holder at the last look is known to be dead, or has been silent for too long. */
  async isDead(what: string): Promise<boolean> {
    const holder = this.#holders.get(what);
    if (!holder || holder.stored.version === "") return false;
    const isYoung = this.#options.clock.now() - holder.since < this.#options.leaseSeconds * 1000;
    if (this.#isFrugal && this.#looks > 1 && isYoung && !this.#isAnyoneSilent) return false;
    const owner = await this.#readOwner(holder.stored);
    if (owner === undefined) return false;
    if (owner === null) return true;
    // One of ours that we do not hold: the reply to its creation or removal was lost.
    if (owner.worker === this.#options.worker) return !this.#held.has(what);
    if (owner.process && this.#options.processes.isAlive(owner.process) === false) return true;
    const now = this.#options.clock.now();
    if (!this.#beats.has(owner.worker)) this.#note(owner.worker, "none", now);
    const { version, since } = this.#beats.get(owner.worker) ?? { version: "none", since: now };
    const silentMs = now - since;
    if (silentMs >= this.#options.leaseSeconds * 1000) return true;
    return this.#hasEnded(owner.worker, version, silentMs);
  }

  /**
   * This worker's part of what is divided among the living, by its rank among their names: from, to, in [0, 1]. Whoever has been silent
   * for a lease time is none.
   */
  shareOf(worker: string): readonly [from: number, to: number] {
    const now = this.#options.clock.now();
    let living = 1;
    let before = 0;
    for (const [other, { since }] of this.#beats) {
      const isSilent = now - since >= this.#options.leaseSeconds * 1000;
      if (other === worker || isSilent || this.#ended.has(other)) continue;
      living += 1;
      if (other < worker) before += 1;
    }
    return [before / living, (before + 1) / living];
  }

  /** How many attempts at the unit have failed, by the last look. */
  failures(unit: Unit): number {
    return this.#failures.get(unitName(unit)) ?? 0;
  }

  /** Writes down a failed attempt with its cause. Create-only: two workers' failures count as two. */
  async noteFailure(unit: Unit, cause: string): Promise<number> {
    const what = unitName(unit);
    for (let n = this.failures(unit) + 1; ; n++) {
      const body = Buffer.from(
        JSON.stringify({ worker: this.#options.worker, cause, at: this.#options.clock.date().toISOString() }),
      );
      const name = `leases/${what}.failed.${n}`;
      const created = await this.#store.create(name, body);
      this.#failures.set(what, n);
      if (created !== "exists") return n;
      const there = await this.#store.read(name).catch(() => null);
      if (there && body.equals(there)) return n; // Ours: the reply was lost.
    }
  }

  /** The cause written down with a unit's last failed attempt. */
  async lastFailure(unit: Unit): Promise<string> {
    try {
      const bytes = await this.#store.read(`leases/${unitName(unit)}.failed.${this.failures(unit)}`);
      return z.object({ cause: z.string() }).parse(parseJsonBytes(bytes)).cause;
    } catch {
      return "the cause was not recorded";
    }
  }

  /** Forgets all failed attempts (`--retry-failed`). */
  async clearFailures(): Promise<void> {
    for await (const stored of this.#store.list("leases/")) {
      if (FAILED_NAME.test(stored.name)) await this.#store.remove(stored.name, stored.version);
    }
    this.#failures.clear();
  }

  get #isFrugal(): boolean {
    return Number.isFinite(this.#options.readsPerLook);
  }

  #note(worker: string, version: string, now: number): void {
    if (this.#beats.get(worker)?.version === version) return;
    this.#beats.set(worker, { version, since: now });
  }

  /**
   * The holder, read once per lease object; null where the lease cannot be read (torn by hand, or just removed), undefined where it
   * is not to be read before the next look.
   */
  async #readOwner(stored: Stored): Promise<z.infer<typeof leaseSchema> | null | undefined> {
    const key = keyOf(stored);
    const known = this.#owners.get(key);
    if (known !== undefined || this.#reads <= 0) return known;
    this.#reads -= 1;
    let owner: z.infer<typeof leaseSchema> | null;
    try {
      owner = leaseSchema.parse(parseJsonBytes(await this.#store.read(stored.name)));
    } catch {
      owner = null;
    }
    this.#owners.set(key, owner);
    return owner;
  }

  /** Whether the worker itself wrote that it is done: read when its heartbeat has stopped for a while, and once before where requests do not count. */
  async #hasEnded(worker: string, version: string, silentMs: number): Promise<boolean> {
    if (this.#ended.has(worker)) return true;
    const heard = this.#heard.get(worker);
    const isDue = (heard === undefined && !this.#isFrugal) || silentMs >= this.#options.leaseSeconds * 500;
    if (!isDue || heard === version || this.#reads <= 0) return false;
    this.#reads -= 1;
    this.#heard.set(worker, version);
    try {
      const bytes = await this.#store.read(`workers/${worker}.json`);
      const state: unknown = parseJsonBytes(bytes);
      const { status } = z.object({ status: z.string() }).parse(state);
      if (ENDED.has(status)) this.#ended.add(worker);
      return ENDED.has(status);
    } catch {
      return false;
    }
  }
}

function keyOf({ name, version }: Stored): string {
  return `${name}@${version}`;
}
