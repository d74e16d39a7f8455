// What a benchmark ran on.

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { availableParallelism, cpus, totalmem } from "node:os";
import { ENGINE_ENVIRONMENT } from "../dist/run/engine-process.js";

/** Starts the benchmark again with the environment of the engine's process, where it lacks that: an allocator reads it at start. */
export function runLikeEngine() {
  if (Object.keys(ENGINE_ENVIRONMENT).every((name) => name in process.env)) return;
  const env = { ...ENGINE_ENVIRONMENT, ...process.env };
  const { status } = spawnSync(process.execPath, process.argv.slice(1), { stdio: "inherit", env });
  process.exit(status ?? 1);
}

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
