// Which faults a seed has: each kind is switched on in some seeds only, and then strikes now and then (FoundationDB's
// "buggify"), so that single kinds are seen alone as well as all together.

import { Chance } from "./scheduler.js";

/** What may happen to one request. */
export const REQUEST_FAULTS = [
  /** 503, 429 or a refused connection: nothing happens. */
  "unavailable",
  /** 429 with a long Retry-After. */
  "throttled",
  /** 409: another request on that name is under way (S3). Nothing happens. */
  "conflict",
  /** It happens, and the reply is lost. */
  "lost reply",
  /** The way sends it twice, and the second reply arrives. */
  "sent twice",
  /** No answer, ever; it happens or not. */
  "stall",
  /** The connection breaks, and the request arrives minutes or hours later all the same. */
  "late",
  /** Half of the answer arrives. */
  "torn read",
  /** Both ways take long. */
  "slow",
  /** The process is killed before or after it happens. */
  "killed in a request",
] as const;
export type RequestFault = (typeof REQUEST_FAULTS)[number];

/** What may happen to a worker. */
export const WORKER_FAULTS = [
  "killed at a step",
  "preempted",
  "signalled twice",
  "stopped for seconds",
  "stopped for hours",
  "asleep with its clock",
  "clock jump",
  "engine dies",
  "machine lost",
] as const;
export type WorkerFault = (typeof WORKER_FAULTS)[number];

/** What may be wrong with the store, or be done to it. */
export const STORE_FAULTS = [
  "outage",
  "stale listing",
  "torn orphan",
  "data deleted",
  "bucket copied",
] as const;
export type StoreFault = (typeof STORE_FAULTS)[number];

/** The faults of one seed. */
export interface FaultPlan {
  /** Probability of each kind for a request. */
  readonly requests: ReadonlyMap<RequestFault, number>;
  readonly worker: ReadonlySet<WorkerFault>;
  readonly store: ReadonlySet<StoreFault>;
}

/** Draws a seed's faults. */
export function drawFaults(seed: string): FaultPlan {
  const chance = new Chance(`faults/${seed}`);
  if (chance.is(0.03)) return { requests: new Map(), worker: new Set(), store: new Set() };
  const share = chance.pick([0.15, 0.3, 0.6]);
  const harshness = chance.pick([0.3, 1, 1, 3]);
  // Some seeds have a perfect line: then a worker that is told to stop must be gone in time.
  const kinds = chance.is(0.2) ? [] : REQUEST_FAULTS;
  const requests = kinds
    .filter(() => chance.is(share))
    .map((kind): [RequestFault, number] => {
      const rare = kind === "stall" || kind === "killed in a request" || kind === "throttled" ? 0.2 : 1;
      return [kind, Math.min(0.25, 0.03 * rare * harshness)];
    });
  return {
    requests: new Map(requests),
    worker: new Set(WORKER_FAULTS.filter(() => chance.is(share))),
    store: new Set(STORE_FAULTS.filter(() => chance.is(share / 2))),
  };
}
