// How often a worker speaks to the store. In a folder looking is free, and soon is best. An object store bills every request
// and takes about one write a second of one name, so there a thousand workers must stay few requests a shard together.

import { isRemote, type Store } from "../store/store.js";

/** Milliseconds, except where the name says otherwise. */
export interface Pace {
  /** Between two heartbeats. */
  readonly beatMs: number;
  /** Between looks at what others do, while there is nothing to do. */
  readonly pollMs: number;
  /** Between two writes of the derived files, and until the first. */
  readonly derivedMs: number;
  readonly firstDerivedMs: number;
  /** A holder whose heartbeat has not changed for so long between two looks is taken for dead. */
  readonly silenceSeconds: number;
  /** Leases and heartbeats of others that are read between two looks, at most: what is not known of somebody yet is that he is alive. */
  readonly readsPerLook: number;
}

/** No object is written more often, but for the last state of a worker. */
const WRITE_EVERY_MS = 5_000;
/** Beats that may be late before a lease is lost. */
const BEATS = 3;

/** The shortest --lease-seconds that heartbeats allow. */
export function shortestLease(store: Store): number {
  return isRemote(store) ? ((BEATS + 1) * WRITE_EVERY_MS) / 1000 : 0;
}

/** The pace of a worker on that store. */
export function paceOf(store: Store, leaseSeconds: number): Pace {
  const leaseMs = leaseSeconds * 1000;
  if (!isRemote(store))
    return {
      beatMs: Math.max(500, leaseMs / 6),
      pollMs: Math.min(1000, leaseMs / 4),
      derivedMs: 30_000,
      firstDerivedMs: 0,
      silenceSeconds: leaseSeconds,
      readsPerLook: Number.POSITIVE_INFINITY,
    };
  // Silence starts up to a poll after the last beat, and is noticed up to a poll after its end: with both, a dead worker's
  // units are taken over within the lease time.
  const pollMs = leaseMs / 12;
  return {
    beatMs: Math.max(WRITE_EVERY_MS, leaseMs / (BEATS + 1)),
    pollMs,
    derivedMs: 300_000,
    firstDerivedMs: 60_000,
    silenceSeconds: leaseSeconds - (2 * pollMs) / 1000,
    readsPerLook: 16,
  };
}
