// How much memory this process may use at most: the machine's, or what its container is allowed.

import { totalmem } from "node:os";

/** Bytes. The same for as long as machine and container are. */
export function machineMemory(): number {
  const allowed = process.constrainedMemory();
  // Without a limit it is 0, or a number beyond any machine.
  return allowed > 0 && allowed < totalmem() ? allowed : totalmem();
}
