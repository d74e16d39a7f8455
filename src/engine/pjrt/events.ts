// Events of a plug-in as promises, by PJRT_Event_OnReady: no thread is held while one waits. One C callback serves all events;
// the plug-in's thread waits in it until this thread has taken the message, so nothing that may wait for the plug-in's
// threads is called here: see `callOnThread`.

import type { PjrtApi } from "./call.js";
import { Handle } from "./handle.js";
import { callbackFor } from "./native.js";

interface Waiting {
  readonly event: Handle;
  readonly operation: string;
  resolve(): void;
  reject(error: Error): void;
}

/** The events of one plug-in. */
export class Events {
  readonly #api: PjrtApi;
  readonly #callback: bigint;
  readonly #waiting = new Map<bigint, Waiting>();
  /** Calls and events under way. */
  #open = 0;
  #last = 0n;
  /** A callback does not keep Node alive: a timer does while something is under way. */
  #keepAlive: NodeJS.Timeout | undefined;
  #idle: (() => void)[] = [];

  constructor(api: PjrtApi) {
    this.#api = api;
    this.#callback = callbackFor((error, user) => this.#ready(error, user));
  }

  /** Resolves when the event is ready, and destroys it. @throws PjrtError the event's error. */
  settle(address: bigint, operation: string): Promise<void> {
    if (address === 0n) return Promise.resolve();
    const event = new Handle("event", address, (at) => {
      this.#api.call("PJRT_Event_Destroy", { event: at });
    });
    const settled = new Promise<void>((resolve, reject) => {
      const id = ++this.#last;
      this.#waiting.set(id, { event, operation, resolve, reject });
      this.#begin();
      try {
        this.#api.call("PJRT_Event_OnReady", { event: address, callback: this.#callback, user_arg: id });
      } catch (error) {
        // The callback will never be called: nobody may wait for it.
        this.#waiting.delete(id);
        event.release();
        this.#end();
        throw error;
      }
    });
    settled.catch(() => {}); // Whoever awaits it sees the error; that nobody does must not end the process.
    return settled;
  }

  /** Counts work that is no event. */
  async during<T>(work: Promise<T>): Promise<T> {
    this.#begin();
    try {
      return await work;
    } finally {
      this.#end();
    }
  }

  /** Resolves when nothing is under way. */
  async drain(): Promise<void> {
    while (this.#open > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  #ready(errorAddress: bigint, id: bigint): void {
    const waiting = this.#waiting.get(id);
    const error = this.#api.takeError(waiting?.operation ?? "PJRT_Event_OnReady", errorAddress);
    if (!waiting) return;
    this.#waiting.delete(id);
    // Not before the plug-in has left the callback: the event must not be destroyed under it.
    setImmediate(() => {
      waiting.event.release();
      if (error) waiting.reject(error);
      else waiting.resolve();
      this.#end();
    });
  }

  #begin(): void {
    this.#open += 1;
    this.#keepAlive ??= setInterval(() => {}, 2 ** 31 - 1);
  }

  #end(): void {
    this.#open -= 1;
    if (this.#open > 0) return;
    clearInterval(this.#keepAlive);
    this.#keepAlive = undefined;
    for (const resolve of this.#idle.splice(0)) resolve();
  }
}
