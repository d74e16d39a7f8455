// Time and chance, as a seam: what a worker does depends on no other clock, timer or random name, so that tests can run
// many workers on a virtual clock, days in a second, and replay what happened from a seed.

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

/** Where a worker's time and its random names come from. */
export interface Clock {
  /** Milliseconds since some moment; never goes back. */
  now(): number;
  /** What the wall says: for people, never compared with another. */
  date(): Date;
  /** Resolves after so many milliseconds. @throws an AbortError, or the signal's reason, when aborted. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Calls once, after so many milliseconds; does not keep the process alive. @returns what cancels it. */
  after(ms: number, action: () => void): () => void;
  /** Calls again and again, every so many milliseconds; does not keep the process alive. @returns what ends it. */
  every(ms: number, action: () => void): () => void;
  /** A name that nobody else has. */
  uuid(): string;
}

/** This machine's. */
export const realClock: Clock = {
  now: () => performance.now(),
  date: () => new Date(),
  sleep: (ms, signal) => sleep(ms, undefined, { signal }),
  after(ms, action) {
    const timer = setTimeout(action, ms).unref();
    return () => clearTimeout(timer);
  },
  every(ms, action) {
    const timer = setInterval(action, ms).unref();
    return () => clearInterval(timer);
  },
  uuid: randomUUID,
};
