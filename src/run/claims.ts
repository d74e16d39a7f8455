// Which unit next. A worker does its own stream first, in order; then any other unit. Where several work on the same units each begins at
// a place of its own among those that are open, by its rank among the living, so that they meet only where one has come to the next one's
// beginning; then they look again.

import { type Clock, realClock } from "../base/clock.js";
import { type Unit, unitName } from "../plan/unit.js";
import { anyOf } from "../store/retry.js";
import type { Lease, Leases } from "./leases.js";
import type { CommitLog } from "./log.js";

/** Attempts after which a unit is tried last, and after which it is given up. */
export const FAILURES_LAST = 3;
export const FAILURES_GIVEN_UP = 5;
/** Between two looks at what others have done, or 20 times what a look takes. */
const LOOK_EVERY_MS = 5_000;
/** The same on an object store, where what guesses have cost decides. */
const LOOK_AGAIN_MS = 1_000;
/** Requests that a unit costs which turns out to be taken; and those of a look at all leases and heartbeats. */
const MISS_COST = 2;
const LEASES_COST = 2;

/** A unit that this worker holds and that had no commit when it was taken, or whose data is to be made again. */
export interface Claim {
  readonly unit: Unit;
  readonly lease: Lease;
}

/** What `nextClaim` says where there is nothing to claim right now. */
export type NoClaim =
  /** Every unit (of the own stream, with --no-steal) has a commit. */
  | { readonly kind: "complete" }
  /** Others hold what is left. */
  | { readonly kind: "wait" }
  /** All the rest has a commit; these failed too often. */
  | { readonly kind: "given-up"; readonly units: readonly Unit[] };

/** What a worker wants of the run. */
export interface ClaimOptions {
  readonly uuid: string;
  /** The stream to begin with. */
  readonly stream: number;
  /** Whether to help with other streams. */
  readonly steal: boolean;
  /** Units whose data has gone missing, to be made again though they have a commit: found out while the first units are computed. */
  readonly repair: Promise<readonly Unit[]>;
  /** Units to take first: somebody has left them half done on this machine. */
  readonly first?: readonly Unit[];
  readonly clock?: Clock;
}

/** Hands out units, one claim at a time. */
export class Claims {
  readonly #log: CommitLog;
  readonly #leases: Leases;
  readonly #options: ClaimOptions;
  readonly #clock: Clock;
  /** Candidates of this pass. */
  #candidates: Generator<Unit> | undefined;
  /** When the last look at the run ended, and how long it took; milliseconds. */
  #lookedAt = 0;
  #lookTook = 0;
  /** Requests that the last look took, and that units have cost since which were taken. */
  #lookCost = 0;
  #missCost = 0;
  /** Whether what was this worker's part of what is open has been tried: what comes next is another's, and mostly done. */
  #isShareDone = false;
  /** Whether the pass goes on to other streams. On an object store the own stream comes alone, and then a look. */
  #coversAll = true;
  #isOwnDone = false;
  readonly #repair = new Map<string, Unit>();
  readonly #mine = new Set<string>();
  /** What looking for missing data raised. */
  #problem: { readonly error: unknown } | undefined;
  /** Called when a unit of this worker's has been stored or dropped. */
  #onForgotten = () => {};

  /** @param log has just been listed. */
  constructor(log: CommitLog, leases: Leases, options: ClaimOptions) {
    this.#log = log;
    this.#leases = leases;
    this.#options = options;
    this.#clock = options.clock ?? realClock;
    options.repair.then(
      (units) => this.repair(units),
      (error: unknown) => {
        this.#problem = { error };
      },
    );
  }

  /**
   * After a 'wait': until another answer is worth asking for. Where this worker holds all that is left itself, that is when it has stored
   * all of it or dropped a unit, and nobody needs to be looked at; else when a unit is wanted, and from then on after the time given; or
   * as soon as nothing is left.
   * @param pollMs milliseconds between looks at what others do; longer where a look takes long.
   * @param wanted aborted when there is nothing else to do than what the next unit brings.
   */
  async wait(pollMs: number, signal: AbortSignal, wanted: AbortSignal): Promise<void> {
    if (this.#listOpen().length === 0 || signal.aborted) return;
    const isAlone = this.#holdsAllOpen();
    const isWanted = wanted.aborted;
    const ended = anyOf(isAlone || isWanted ? [signal] : [signal, wanted]);
    const end = new Promise((resolve) => ended.signal.addEventListener("abort", resolve, { once: true }));
    this.#onForgotten = () => {
      if (this.#isNothingLeft() || (isAlone && !this.#holdsAllOpen())) ended.abort(undefined);
    };
    try {
      if (isAlone || !isWanted) await end;
      else await this.#clock.sleep(Math.max(pollMs, 4 * this.#lookTook), ended.signal).catch(() => {});
    } finally {
      this.#onForgotten = () => {};
      ended.dispose();
    }
  }

  /**
   * The next unit, leased; or why there is none now. A pass over all candidates ends with 'wait' and the next call looks afresh.
   * @throws what looking for missing data raised.
   */
  async next(): Promise<Claim | NoClaim> {
    if (this.#problem) throw this.#problem.error;
    if (this.#lookCost > 0 && this.#isNothingLeft()) {
      await this.#options.repair;
      if (this.#isNothingLeft()) return { kind: "complete" };
    }
    for (;;) {
      if (!this.#candidates || this.#isLookDue()) this.#candidates = await this.#look();
      // Not for-of: leaving it would close the generator, which the next call goes on with.
      for (let next = this.#candidates.next(); !next.done; next = this.#candidates.next()) {
        if (this.#log.isRemote && this.#isShareDone && this.#isLookDue()) {
          this.#candidates = await this.#look();
          continue;
        }
        const claim = await this.#tryClaim(next.value);
        if (claim) return claim;
        // Where one unit is taken that seemed to be open, so may be many after it.
        if (this.#log.isRemote && this.#isLookDue()) this.#candidates = await this.#look();
      }
      this.#candidates = undefined;
      if (this.#coversAll) break;
      this.#isOwnDone = true;
    }
    await this.#options.repair;
    return this.#summarise();
  }

  #isLookDue(): boolean {
    // Where a look costs requests, guesses must have cost as many: then it is as cheap as to go on guessing.
    const looked = this.#clock.now() - this.#lookedAt;
    const isWorthIt = this.#isShareDone || this.#missCost >= this.#lookCost;
    if (this.#log.isRemote) return looked >= LOOK_AGAIN_MS && isWorthIt;
    return looked > Math.max(LOOK_EVERY_MS, 20 * this.#lookTook);
  }

  /** Sees what others hold and have done, and begins a pass. */
  async #look(): Promise<Generator<Unit>> {
    const { steal, stream } = this.#options;
    const { isRemote } = this.#log;
    const isFirst = this.#lookCost === 0;
    const started = this.#clock.now();
    await this.#leases.refresh();
    // What is leased is not committed, or will be seen to be soon.
    const isLeased = (unit: Unit) => this.#leases.isLeased(unitName(unit));
    this.#lookCost =
      LEASES_COST + (isRemote && isFirst ? 0 : await this.#log.lookAtOpen({ except: isLeased }));
    this.#missCost = 0;
    this.#isShareDone = false;
    const isShared = await this.#isStreamShared();
    const hasOwn = () => [...this.#log.unitsOf(stream)].some((unit) => !this.#isDone(unit));
    this.#coversAll = !isRemote || !steal || this.#isOwnDone || !hasOwn();
    this.#lookedAt = this.#clock.now();
    this.#lookTook = this.#lookedAt - started;
    return this.#listCandidates(isShared);
  }

  /** The unit is committed or dropped: it may be claimed again where it is still open. */
  forget(unit: Unit, repaired: boolean): void {
    this.#mine.delete(unitName(unit));
    if (repaired) this.#repair.delete(unitName(unit));
    this.#onForgotten();
  }

  /** Units whose data has gone missing since. */
  repair(units: readonly Unit[]): void {
    for (const unit of units) this.#repair.set(unitName(unit), unit);
  }

  /** Whether the unit has a commit already and is claimed to make its data again. */
  isRepair(unit: Unit): boolean {
    return this.#repair.size > 0 && this.#repair.has(unitName(unit));
  }

  async #tryClaim(unit: Unit): Promise<Claim | null> {
    const name = unitName(unit);
    if (this.#mine.has(name) || this.#leases.failures(unit) >= FAILURES_GIVEN_UP) return null;
    if (this.#isDone(unit)) return null;
    const isKnown = this.#leases.isLeased(name);
    const lease = await this.#leases.claim(name);
    if (!lease) {
      if (!isKnown) this.#missCost += MISS_COST;
      return null;
    }
    if (!this.isRepair(unit) && (await this.#log.isCommitted(unit))) {
      this.#missCost += MISS_COST;
      await this.#leases.release(lease);
      return null;
    }
    this.#mine.add(name);
    return { unit, lease };
  }

  #isDone(unit: Unit): boolean {
    return this.#log.seems(unit) && !this.isRepair(unit);
  }

  /**
   * The units that are still to be done, in this worker's order; those that failed often come last, and on an object store before
   * them those that somebody holds, whom it may cost requests to know dead.
   */
  *#listCandidates(isShared: boolean): Generator<Unit> {
    const failing: Unit[] = [];
    const held: Unit[] = [];
    for (const unit of this.#unitsInOrder(isShared)) {
      if (this.#isDone(unit)) continue;
      const isHeld = this.#log.isRemote && this.#coversAll && this.#leases.isLeased(unitName(unit));
      if (this.#leases.failures(unit) >= FAILURES_LAST) failing.push(unit);
      else if (isHeld) held.push(unit);
      else yield unit;
    }
    yield* held;
    yield* failing;
  }

  /** The own stream in order, unless somebody else is working on it too; then the others, where it is their turn. */
  *#unitsInOrder(isShared: boolean): Generator<Unit> {
    yield* this.#options.first ?? [];
    const { stream, steal } = this.#options;
    if (!steal || !isShared) yield* this.#log.unitsOf(stream);
    if (!steal) return;
    // Of the own stream where it is shared: somebody who is dead, but not yet silent for long, must not drive a worker out of it.
    if (isShared) yield* this.#divided(this.#log.unitsOf(stream));
    if (this.#coversAll) yield* this.#divided(this.#othersUnits());
  }

  *#othersUnits(): Generator<Unit> {
    for (const other of this.#log.unitCounts.keys())
      if (other !== this.#options.stream) yield* this.#log.unitsOf(other);
  }

  /** Those that are open, from this worker's place among them on; then those that somebody holds. */
  *#divided(units: Iterable<Unit>): Generator<Unit> {
    const free: Unit[] = [];
    const leased: Unit[] = [];
    for (const unit of units)
      if (!this.#isDone(unit)) (this.#leases.isLeased(unitName(unit)) ? leased : free).push(unit);
    const [start = 0, end = 0] = this.#leases
      .shareOf(this.#options.uuid)
      .map((x) => Math.floor(x * free.length));
    yield* free.slice(start, end);
    if (end - start > this.#lookCost) this.#isShareDone = true;
    yield* free.slice(end);
    yield* free.slice(0, start);
    yield* leased;
  }

  async #isStreamShared(): Promise<boolean> {
    for (const what of this.#leases.held()) {
      const isOurs = this.#mine.has(what) || !what.startsWith(`tpu_${this.#options.stream}/`);
      if (!isOurs && (await this.#leases.isHeld(what))) return true;
    }
    return false;
  }

  /** Whether every unit that this worker may take is done, as far as it knows. */
  #isNothingLeft(): boolean {
    const { stream, steal } = this.#options;
    if (this.#repair.size > 0) return false;
    return steal ? this.#log.committed === this.#log.unitTotal : this.#log.isComplete(stream);
  }

  #listOpen(): Unit[] {
    const { stream, steal } = this.#options;
    return [...(steal ? this.#log.units() : this.#log.unitsOf(stream))].filter((u) => !this.#isDone(u));
  }

  /** Whether there are units left, and this worker holds each of them. */
  #holdsAllOpen(): boolean {
    const open = this.#listOpen();
    return open.length > 0 && open.every((unit) => this.#mine.has(unitName(unit)));
  }

  #summarise(): NoClaim {
    const open = this.#listOpen();
    if (open.length === 0) return { kind: "complete" };
    const givenUp = open.filter((unit) => this.#leases.failures(unit) >= FAILURES_GIVEN_UP);
    return givenUp.length === open.length ? { kind: "given-up", units: givenUp } : { kind: "wait" };
  }
}
