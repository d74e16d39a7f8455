// Reading long objects: pieces in order, several requests under way, so that the way to a far store is kept full, and all readers of one
// command share a bound of memory, however many objects there are and however large.

import type { Store } from "./store.js";

/** Bytes of a piece. */
export const PIECE_BYTES = 4 << 20;
/** Pieces of one object under way at once, at most. */
const AHEAD = 8;

/** How many pieces may be in memory at once. First come, first served. */
export class PieceBudget {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  /** @param pieces 32 make 128 MiB. */
  constructor(pieces = 32) {
    this.#free = pieces;
  }

  /** Waits for room. Give it back with {@link give}. */
  async take(): Promise<void> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  /** Gives room for one piece back. */
  give(): void {
    const next = this.#waiting.shift();
    if (next) next();
    else this.#free += 1;
  }
}

/**
 * The bytes [start, end) of an object, in pieces and in order. A piece counts against the budget until the next one is asked for.
 * @throws as `Store.read` does; the signal's reason.
 */
export async function* readPieces(
  store: Store,
  name: string,
  range: { readonly start: number; readonly end: number },
  { budget, signal }: { readonly budget: PieceBudget; readonly signal?: AbortSignal | undefined },
): AsyncGenerator<Uint8Array> {
  const underWay: Promise<Uint8Array>[] = [];
  let next = range.start;
  const start = () => {
    const from = next;
    next = Math.min(range.end, from + PIECE_BYTES);
    const to = next;
    const reading = budget.take().then(async () => {
      signal?.throwIfAborted();
      return store.read(name, { start: from, end: to });
    });
    reading.catch(() => {}); // Raised when it is its turn.
    underWay.push(reading);
  };
  try {
    while (next < range.end || underWay.length > 0) {
      while (next < range.end && underWay.length < AHEAD) start();
      signal?.throwIfAborted();
      const [first] = underWay;
      if (first) yield await first;
      underWay.shift();
      budget.give();
    }
  } finally {
    for (const reading of underWay) void reading.catch(() => {}).then(() => budget.give());
  }
}
