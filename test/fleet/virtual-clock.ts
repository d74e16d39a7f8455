// A clock that stands still while anything can be done, and then leaps to the next timer: hours of a fleet's life in a second.

import { setImmediate as idle } from "node:timers/promises";
import type { Clock } from "../../src/base/clock.js";

interface Timer {
  readonly at: number;
  readonly order: number;
  readonly fire: () => void;
}

/** A {@link Clock} that {@link run} moves. What it drives must wait for nothing but this clock and for what is done at once. */
export class VirtualClock implements Clock {
  #now = 0;
  #order = 0;
  readonly #timers: Timer[] = [];

  now(): number {
    return this.#now;
  }

  date(): Date {
    return new Date(1_800_000_000_000 + this.#now);
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const stop = () => {
        cancel();
        reject(signal?.reason);
      };
      const cancel = this.after(ms, () => {
        signal?.removeEventListener("abort", stop);
        resolve();
      });
      signal?.addEventListener("abort", stop, { once: true });
    });
  }

  after(ms: number, action: () => void): () => void {
    const timer = { at: this.#now + ms, order: this.#order++, fire: action };
    let low = 0;
    for (let high = this.#timers.length; low < high; ) {
      const middle = (low + high) >> 1;
      if (isBefore(timer, this.#timers[middle] as Timer)) low = middle + 1;
      else high = middle;
    }
    this.#timers.splice(low, 0, timer);
    return () => {
      const index = this.#timers.indexOf(timer);
      if (index >= 0) this.#timers.splice(index, 1);
    };
  }

  every(ms: number, action: () => void): () => void {
    let cancel = () => {};
    const again = () => {
      cancel = this.after(ms, again);
      action();
    };
    cancel = this.after(ms, again);
    return () => cancel();
  }

  uuid(): string {
    return `uuid-${this.#order++}`;
  }

  /** Lets time pass until the promise settles. */
  async run<T>(promise: Promise<T>): Promise<T> {
    let isSettled = false;
    const settle = () => {
      isSettled = true;
    };
    promise.then(settle, settle);
    for (;;) {
      await idle();
      if (isSettled) return promise;
      const timer = this.#timers.pop();
      if (!timer) throw new Error("everybody waits, and no timer is set");
      this.#now = timer.at;
      timer.fire();
    }
  }
}

/** The list is kept with the next timer last. */
function isBefore(a: Timer, b: Timer): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}
