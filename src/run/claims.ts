// Which unit next. A worker does its own stream first, in order; then any other unit, in an order of its own (permuted
// by a hash of its uuid), so that workers that know nothing of each other seldom meet at the same unit.

import { type Unit, unitName } from "../plan/unit.js";
import type { Lease, Leases } from "./leases.js";
import type { CommitLog } from "./log.js";

/** Attempts after which a unit is tried last, and after which it is given up. */
export const FAILURES_LAST = 3;
export const FAILURES_GIVEN_UP = 5;
/** Between two looks at what others have done, or 20 times what a look takes. */
const LOOK_EVERY_MS = 5_000;

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
  /** Units whose data has gone missing: to be made again though they have a commit. */
  readonly repair: readonly Unit[];
}

/** Hands out units, one claim at a time. */
export class Claims {
  readonly #log: CommitLog;
  readonly #leases: Leases;
  readonly #options: ClaimOptions;
  /** Candidates of this pass, the next one last. */
  #queue: Unit[] | undefined;
  /** When the last look at the run ended, and how long it took; milliseconds. */
  #lookedAt = 0;
  #lookTook = 0;
  readonly #repair: Map<string, Unit>;
  readonly #mine = new Set<string>();

  constructor(log: CommitLog, leases: Leases, options: ClaimOptions) {
    this.#log = log;
    this.#leases = leases;
    this.#options = options;
    this.#repair = new Map(options.repair.map((unit) => [unitName(unit), unit]));
  }

  /** The next unit, leased; or why there is none now. A pass over all candidates ends with 'wait' and the next call looks afresh. */
  async next(): Promise<Claim | NoClaim> {
    if (!this.#queue || performance.now() - this.#lookedAt > Math.max(LOOK_EVERY_MS, 20 * this.#lookTook)) {
      const started = performance.now();
      await this.#leases.refresh();
      await this.#log.refresh();
      this.#queue = (await this.#candidates()).reverse();
      this.#lookedAt = performance.now();
      this.#lookTook = this.#lookedAt - started;
    }
    for (let unit = this.#queue.pop(); unit; unit = this.#queue.pop()) {
      if (this.#isDone(unit)) continue;
      const claim = await this.#tryClaim(unit);
      if (claim) return claim;
    }
    this.#queue = undefined;
    return this.#summarise();
  }

  /** The unit is committed or dropped: it may be claimed again where it is still open. */
  forget(unit: Unit, repaired: boolean): void {
    this.#mine.delete(unitName(unit));
    if (repaired) this.#repair.delete(unitName(unit));
  }

  /** Whether the unit has a commit already and is claimed to make its data again. */
  isRepair(unit: Unit): boolean {
    return this.#repair.has(unitName(unit));
  }

  async #tryClaim(unit: Unit): Promise<Claim | null> {
    const name = unitName(unit);
    if (this.#mine.has(name) || this.#leases.failures(unit) >= FAILURES_GIVEN_UP) return null;
    const lease = await this.#leases.claim(name);
    if (!lease) return null;
    if (!this.isRepair(unit) && (await this.#log.isCommitted(unit))) {
      await this.#leases.release(lease);
      return null;
    }
    this.#mine.add(name);
    return { unit, lease };
  }

  #isDone(unit: Unit): boolean {
    return this.#log.seems(unit) && !this.isRepair(unit);
  }

  #wanted(): Unit[] {
    const units = this.#options.steal ? this.#log.units() : this.#log.unitsOf(this.#options.stream);
    return [...units].filter((unit) => !this.#isDone(unit));
  }

  async #candidates(): Promise<Unit[]> {
    const wanted = this.#wanted();
    const own = wanted.filter((unit) => unit.stream === this.#options.stream);
    const inOrder = this.#options.steal && (await this.#isSharedStream(own)) ? [] : own;
    const rest =
      inOrder.length === 0 ? wanted : wanted.filter((unit) => unit.stream !== this.#options.stream);
    const order = [...inOrder, ...permute(rest, this.#options.uuid)];
    const failing = order.filter((unit) => this.#leases.failures(unit) >= FAILURES_LAST);
    return [...order.filter((unit) => this.#leases.failures(unit) < FAILURES_LAST), ...failing];
  }

  async #isSharedStream(own: readonly Unit[]): Promise<boolean> {
    for (const unit of own) {
      if (!this.#mine.has(unitName(unit)) && (await this.#leases.isHeld(unitName(unit)))) return true;
    }
    return false;
  }

  #summarise(): NoClaim {
    const open = this.#wanted();
    if (open.length === 0) return { kind: "complete" };
    const givenUp = open.filter((unit) => this.#leases.failures(unit) >= FAILURES_GIVEN_UP);
    return givenUp.length === open.length ? { kind: "given-up", units: givenUp } : { kind: "wait" };
  }
}

/** The units in an order that depends on the key and on each unit alone. */
export function permute(units: readonly Unit[], key: string): Unit[] {
  const keyed = units.map((unit) => ({ unit, rank: rankOf(`${key}/${unit.stream}/${unit.index}`) }));
  keyed.sort((a, b) => a.rank - b.rank || a.unit.stream - b.unit.stream || a.unit.index - b.unit.index);
  return keyed.map(({ unit }) => unit);
}

/** FNV-1a with the finaliser of MurmurHash3: an even spread is all that is asked of it. */
function rankOf(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
