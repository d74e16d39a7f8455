// A simulated process: what it waits for reaches it while it lives, and not while it is stopped. Its clock is its own.

import type { Clock } from "../../src/base/clock.js";
import { Chance, type Scheduler, whole } from "./scheduler.js";

/** The wall at the beginning of every simulation. */
const EPOCH = Date.UTC(2026, 0, 1);

/** One life of a worker, from its start to its end. */
export class SimulatedProcess {
  readonly name: string;
  readonly scheduler: Scheduler;
  readonly clock: Clock;
  readonly #chance: Chance;
  readonly #listeners = new Map<string, Set<(signal: NodeJS.Signals) => void>>();
  #isAlive = true;
  /** Steps until it is killed. */
  #stepsLeft = Number.POSITIVE_INFINITY;
  #stoppedUntil = 0;
  /** How far the wall is off, and time that passed while the clock stood still; milliseconds. */
  #wallOff = 0;
  #lost = 0;
  readonly #onKilled: () => void;
  /** What it waits for that keeps a real process alive. */
  #awaited = 0;

  /** @param seed of its random names. @param onKilled called when it is killed, not when it ends by itself. */
  constructor(name: string, scheduler: Scheduler, seed: string, onKilled: () => void) {
    this.name = name;
    this.scheduler = scheduler;
    this.#chance = new Chance(`process/${seed}/${name}`);
    this.#onKilled = onKilled;
    this.clock = {
      now: () => 1e6 + scheduler.now - this.#lost,
      date: () => new Date(EPOCH + scheduler.now + this.#wallOff),
      sleep: (ms, signal) => this.#sleep(ms, signal),
      after: (ms, action) => this.deliver(ms, action, false),
      every: (ms, action) => this.#every(ms, action),
      uuid: () => this.#uuid(),
    };
  }

  get isAlive(): boolean {
    return this.#isAlive;
  }

  /** When it was first told to stop. */
  toldAt: number | undefined;
  /** Whether it has ever been stopped. */
  wasStopped = false;

  /** Whether Node would end it here with exit code 13: it waits for something that nothing will bring. */
  get isStranded(): boolean {
    return this.#isAlive && this.#awaited === 0;
  }

  /** Its chance for what only it decides: back-off. */
  get chance(): Chance {
    return this.#chance;
  }

  /** Signals, as a worker listens to them. */
  readonly signals = {
    on: (signal: NodeJS.Signals, listener: (signal: NodeJS.Signals) => void) => {
      const listeners = this.#listeners.get(signal) ?? new Set();
      this.#listeners.set(signal, listeners.add(listener));
    },
    off: (signal: NodeJS.Signals, listener: (signal: NodeJS.Signals) => void) => {
      this.#listeners.get(signal)?.delete(listener);
    },
  };

  /**
   * Calls after so many milliseconds, unless it is dead by then; later where it is stopped.
   * @param isAwaited whether the wait for it keeps a real process alive. @returns what cancels it.
   */
  deliver(ms: number, action: () => void, isAwaited = true): () => void {
    let isOver = false;
    const finish = () => {
      if (!isOver && isAwaited) this.#awaited -= 1;
      isOver = true;
    };
    if (isAwaited) this.#awaited += 1;
    const arrive = () => {
      if (isOver || !this.#isAlive) return;
      if (this.#stoppedUntil > this.scheduler.now) {
        this.scheduler.planAt(this.#stoppedUntil, arrive);
        return;
      }
      finish();
      this.#stepsLeft -= 1;
      if (this.#stepsLeft <= 0) this.kill();
      else action();
    };
    this.scheduler.plan(ms, arrive);
    return finish;
  }

  /** Waits for what will never come: an open connection keeps a process alive. @returns what gives up. */
  hold(): () => void {
    this.#awaited += 1;
    return () => {
      this.#awaited -= 1;
    };
  }

  /** {@link deliver} as a promise; it never settles where the process dies before. */
  wait(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.deliver(ms, resolve);
    });
  }

  /** It is killed before it goes on for the n-th time from now. */
  killAfter(steps: number): void {
    this.#stepsLeft = steps;
  }

  /** kill -9. */
  kill(): void {
    if (!this.#isAlive) return;
    this.scheduler.note(this.name, "is killed");
    this.end();
    this.#onKilled();
  }

  /** Nothing reaches it any more. */
  end(): void {
    this.#isAlive = false;
  }

  /** Stops it (SIGSTOP, or its machine sleeps) for so long. @param clockStops whether its clock stands still meanwhile. */
  stop(ms: number, clockStops: boolean): void {
    this.scheduler.note(this.name, `is stopped for ${ms.toFixed(0)} ms`);
    this.wasStopped = true;
    const until = Math.max(this.#stoppedUntil, whole(this.scheduler.now + ms));
    if (clockStops) this.#lost += until - Math.max(this.#stoppedUntil, this.scheduler.now);
    this.#stoppedUntil = until;
  }

  /** Sets its wall clock, forward or back. */
  jump(ms: number): void {
    this.#wallOff += ms;
  }

  /** Sends a signal; without a listener it is killed by it. */
  signal(signal: NodeJS.Signals): void {
    this.scheduler.note(this.name, `gets ${signal}`);
    this.toldAt ??= this.scheduler.now;
    this.deliver(0, () => {
      const listeners = [...(this.#listeners.get(signal) ?? [])];
      if (listeners.length === 0) this.kill();
      for (const listener of listeners) listener(signal);
    });
  }

  #sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const finish = () => {
        cancel();
        signal?.removeEventListener("abort", finish);
        if (signal?.aborted) reject(signal.reason);
        else resolve();
      };
      const cancel = this.deliver(ms, finish);
      if (signal?.aborted) finish();
      else signal?.addEventListener("abort", finish, { once: true });
    });
  }

  #every(ms: number, action: () => void): () => void {
    let cancel = () => {};
    const next = () => {
      cancel = this.deliver(
        ms,
        () => {
          next();
          action();
        },
        false,
      );
    };
    next();
    return () => cancel();
  }

  #uuid(): string {
    const digits = Array.from({ length: 32 }, () => this.#chance.whole(0, 15).toString(16)).join("");
    return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
  }
}
