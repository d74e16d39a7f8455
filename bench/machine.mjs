// What a benchmark ran on.

import { readFileSync } from "node:fs";
import { availableParallelism, cpus, totalmem } from "node:os";

const versionIn = (path) => JSON.parse(readFileSync(new URL(path, import.meta.url), "utf8")).version;

/** Machine and versions, for the JSON that each benchmark prints. */
export function describeMachine() {
  return {
    machine: {
      cpu: cpus()[0]?.model,
      cores: availableParallelism(),
      memory_gib: Math.round(totalmem() / 2 ** 30),
    },
    versions: {
      node: process.version,
      sluice: versionIn("../package.json"),
      "onnxruntime-node": versionIn("../node_modules/onnxruntime-node/package.json"),
    },
  };
}
