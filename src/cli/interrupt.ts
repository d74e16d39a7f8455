// Commands that read or remove much can be told to stop: the first signal aborts what is under way, a second one ends the
// process at once.

import { SluiceError } from "../base/errors.js";

/**
 * Runs a command with a signal that SIGINT and SIGTERM abort.
 * @throws SluiceError `preempted` where it was told to stop before it was done.
 */
export async function interruptible<T>(run: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const stop = (name: NodeJS.Signals) => {
    if (controller.signal.aborted) process.exit(128 + (name === "SIGINT" ? 2 : 15));
    controller.abort(new SluiceError("preempted", `stopped by ${name}`));
  };
  process.on("SIGINT", stop).on("SIGTERM", stop);
  try {
    return await run(controller.signal);
  } catch (error) {
    throw controller.signal.aborted ? controller.signal.reason : error;
  } finally {
    process.off("SIGINT", stop).off("SIGTERM", stop);
  }
}
