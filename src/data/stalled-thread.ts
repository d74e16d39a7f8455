// Threads that read what strangers wrote: a pattern of a tokenizer may backtrack without end, and a library may go round for ever. Such a
// thread is ended. It says every second that its event loop turns, which it does however slow a disk is.

import type { MessagePort, Worker } from "node:worker_threads";
import { SluiceError } from "../base/errors.js";

const EVERY_MS = 1000;
/** No page and no unit takes that long: a unit is some hundred thousand tokens. */
export const STALLED_AFTER_MS = 600_000;

/** What a thread says when it has nothing else to say. */
export interface Alive {
  readonly alive: true;
}

/** In the thread: says so from now on. */
export function sayAlive(port: MessagePort | null): void {
  setInterval(() => port?.postMessage({ alive: true } satisfies Alive), EVERY_MS).unref();
}

/**
 * Ends the thread when it has said nothing for so long while something was waited for. Turns of this thread's own timer are counted, not
 * time: a machine that slept is no reason.
 * @param waitedFor in words, what is; undefined for nothing. @param onStalled gets the reason. @returns stops looking.
 */
export function endStalled(
  thread: Worker,
  waitedFor: () => string | undefined,
  onStalled: (reason: SluiceError) => void,
  afterMs = STALLED_AFTER_MS,
): () => void {
  let silent = 0;
  thread.on("message", () => {
    silent = 0;
  });
  const timer = setInterval(() => {
    const what = waitedFor();
    silent = what === undefined ? 0 : silent + EVERY_MS;
    if (what === undefined || silent <= afterMs) return;
    clearInterval(timer);
    onStalled(
      new SluiceError(
        "config",
        `reading ${what} has taken ${Math.round(afterMs / 1000)} s of computing without an end`,
        {
          fix: "Is a pattern of the model's tokenizer.json or its chat template without end, or a file of the dataset damaged?",
        },
      ),
    );
    void thread.terminate();
  }, EVERY_MS);
  timer.unref();
  return () => clearInterval(timer);
}
