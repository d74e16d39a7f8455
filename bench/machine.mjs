// What a benchmark ran on.

import { availableParallelism, cpus, totalmem } from "node:os";

/** Machine and versions, for the JSON that each benchmark prints. */
export function describeMachine() {
  return {
    machine: {
      cpu: cpus()[0]?.model,
      cores: availableParallelism(),
      memory_gib: Math.round(totalmem() / 2 ** 30),
    },
    versions: { node: process.version },
  };
}
