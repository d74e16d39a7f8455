// Being told to stop: SIGTERM, SIGINT and SIGUSR1 (Slurm) mean the same. The first asks for an orderly end within the
// grace; signals within 2 s of it are the same one (npx and process groups deliver twice); a later one means now.

import { type Clock, realClock } from "../base/clock.js";

const SIGNALS = ["SIGTERM", "SIGINT", "SIGUSR1"] as const;
const SAME_SIGNAL_MS = 2_000;

/** How long a worker plans to take from the first signal to its exit: clouds give 15 to 30 s, some of it gone already. */
export const GRACE_MS = 9_000;

/** Where signals come from: a process. */
export interface SignalSource {
  on(signal: NodeJS.Signals, listener: (signal: NodeJS.Signals) => void): unknown;
  off(signal: NodeJS.Signals, listener: (signal: NodeJS.Signals) => void): unknown;
}

/** Turns signals into two abort signals. */
export class Preemption {
  readonly #stopping = new AbortController();
  readonly #now = new AbortController();
  readonly #listener = (signal: NodeJS.Signals) => this.notice(signal);
  #firstAt: number | undefined;
  readonly #clock: Clock;
  readonly #signals: SignalSource;
  #cancelDeadline: (() => void) | undefined;

  constructor(clock: Clock = realClock, signals: SignalSource = process) {
    this.#clock = clock;
    this.#signals = signals;
  }

  /** Take no new unit; finish the open one if it fits into {@link remainingMs}. */
  get stopping(): AbortSignal {
    return this.#stopping.signal;
  }

  /** Drop everything and leave. */
  get now(): AbortSignal {
    return this.#now.signal;
  }

  /** Milliseconds left of the grace; infinite while nobody has asked to stop. */
  get remainingMs(): number {
    return this.#firstAt === undefined
      ? Number.POSITIVE_INFINITY
      : Math.max(0, this.#firstAt + GRACE_MS - this.#clock.now());
  }

  /** Starts listening to the process's signals. */
  listen(): void {
    for (const signal of SIGNALS) this.#signals.on(signal, this.#listener);
  }

  /** Stops listening; the default of each signal is in force again. */
  dispose(): void {
    for (const signal of SIGNALS) this.#signals.off(signal, this.#listener);
    this.#cancelDeadline?.();
  }

  /** What a signal does; also the way in for a cloud's metadata notice. */
  notice(reason: string): void {
    const at = this.#clock.now();
    if (this.#firstAt === undefined) {
      this.#firstAt = at;
      this.#stopping.abort(reason);
      this.#cancelDeadline = this.#clock.after(GRACE_MS, () => this.#now.abort("the grace is over"));
    } else if (at - this.#firstAt > SAME_SIGNAL_MS) {
      this.#now.abort(`${reason} again`);
    }
  }
}
