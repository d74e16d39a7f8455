// Virtual time: a queue of events, each run when all that the last one set going has come to rest. Nothing simulated ever
// waits for anything else, so a seed decides the whole history, and hours pass in milliseconds.

import { createHash } from "node:crypto";
import { type Random32, randomNumbers } from "../../src/base/random.js";

interface Event {
  readonly at: number;
  /** Events of one moment come in the order in which they were planned. */
  readonly number: number;
  action: (() => void) | undefined;
}

/** Chance, from a seed. */
export class Chance {
  readonly #random: Random32;

  constructor(key: string) {
    this.#random = randomNumbers(key);
  }

  /** Uniform in [0, 1). */
  real(): number {
    return this.#random() / 2 ** 32;
  }

  between(least: number, most: number): number {
    return least + (most - least) * this.real();
  }

  whole(least: number, most: number): number {
    return least + Math.floor((most - least + 1) * this.real());
  }

  is(probability: number): boolean {
    return this.real() < probability;
  }

  pick<T>(items: readonly T[]): T {
    const item = items[Math.floor(this.real() * items.length)];
    if (item === undefined) throw new RangeError("nothing to pick from");
    return item;
  }

  /** Mostly short, now and then long. */
  around(mean: number): number {
    return -mean * Math.log(1 - this.real());
  }
}

/** The queue of events, and the history of what they did. */
export class Scheduler {
  /** What happens by chance while the simulation runs. */
  readonly chance: Chance;
  /** Milliseconds since the simulation began. */
  now = 0;
  /** Events so far. */
  events = 0;
  readonly #heap: Event[] = [];
  readonly #hash = createHash("sha256");
  readonly #onLine: ((line: string) => void) | undefined;
  #planned = 0;

  /** @param onLine gets the history, line by line. */
  constructor(seed: string, onLine?: (line: string) => void) {
    this.chance = new Chance(`simulation/${seed}`);
    this.#onLine = onLine;
  }

  /** Plans an event. @param delay milliseconds from now. @returns what cancels it. */
  plan(delay: number, action: () => void): () => void {
    return this.planAt(this.now + Math.max(0, delay), action);
  }

  /** {@link plan}, at a moment. */
  planAt(at: number, action: () => void): () => void {
    const event: Event = { at: whole(at), number: this.#planned++, action };
    this.#push(event);
    return () => {
      event.action = undefined;
    };
  }

  /** Runs events until there are none, or `isOver` says so. @throws where there are more than `most`. */
  async run(isOver: () => boolean, most: number): Promise<void> {
    for (;;) {
      await atRest();
      if (isOver()) return;
      const event = this.#pop();
      if (!event) return;
      if (!event.action) continue;
      this.now = event.at;
      if (++this.events > most) throw new Error(`no end after ${most} events`);
      event.action();
    }
  }

  /** Adds a line to the history. */
  note(who: string, what: string): void {
    const line = `${this.now.toFixed(1)} ${who} ${what}`;
    this.#hash.update(line);
    this.#onLine?.(line);
  }

  /** The SHA-256 of the history so far. */
  historyHash(): string {
    return this.#hash.copy().digest("hex");
  }

  #push(event: Event): void {
    const heap = this.#heap;
    let at = heap.push(event) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = heap[parent];
      if (!above || isBefore(above, event)) break;
      heap[at] = above;
      at = parent;
    }
    heap[at] = event;
  }

  #pop(): Event | undefined {
    const heap = this.#heap;
    const [first] = heap;
    const last = heap.pop();
    if (!last || heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      const [left, right] = [heap[child], heap[child + 1]];
      if (!left) break;
      let least = left;
      if (right && isBefore(right, left)) {
        least = right;
        child += 1;
      }
      if (isBefore(last, least)) break;
      heap[at] = least;
      at = child;
    }
    heap[at] = last;
    return first;
  }
}

/** Whole 1024ths of a millisecond: sums and differences of times are exact, and no wait is shorter than that. */
export function whole(ms: number): number {
  return Math.ceil(ms * 1024) / 1024;
}

function isBefore(a: Event, b: Event): boolean {
  return a.at < b.at || (a.at === b.at && a.number < b.number);
}

/** Resolves when no promise can go on any more: Node runs ticks only once the queue of promises' reactions is empty. */
function atRest(): Promise<void> {
  return new Promise((resolve) => process.nextTick(resolve));
}
