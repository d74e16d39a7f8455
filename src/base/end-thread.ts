// How a thread is ended that is referenced only while something is asked of it.

import type { Worker } from "node:worker_threads";

/** Ends a thread, and waits for that: the program does not leave before. */
export async function endThread(thread: Worker): Promise<void> {
  thread.removeAllListeners("message"); // The late reply to an aborted request would unref it.
  await thread.terminate();
}
