// Preloaded into every Node process and thread of a test: a worker writes down which step it has just taken, and can be told to stay
// in one of them until it is let go, so that what the test does meanwhile happens there, on a machine of any speed (held.ts). What
// it does remains the same. SLUICE_TEST_STEPS names the file. SLUICE_TEST_HOLD, such as "3 data object created", is the step in
// which to stay, the third time that it is taken; a file ending in .held says that it stays, one ending in .go lets it go.

import { closeSync, constants, existsSync, openSync, writeSync } from "node:fs";
import { createRequire, syncBuiltinESMExports } from "node:module";
import { isMainThread } from "node:worker_threads";

const LOOK_MS = 5;
const parent = process.ppid;
const file = process.env.SLUICE_TEST_STEPS;
const [, times, wanted] = /^(\d+) (.+)$/.exec(process.env.SLUICE_TEST_HOLD ?? "") ?? [];
let count = 0;
let hasData = false;

/** The step that follows from a call, by what it did to which path. */
function stepOf(call, path, mode) {
  if (/\/scan-thread\.js$/.test(process.argv[1] ?? ""))
    return call === "open" ? "looking at the dataset" : undefined;
  if (call === "link" && /\/doctor-[^/]+\/race-\d+$/.test(path)) return "trying the store";
  if (call === "link" && /\/leases\/tpu_\d+\/shard_\d+\.\d+$/.test(path)) return "lease taken";
  if (call === "open" && path.endsWith(".shard") && mode === "wx+") return "computing into the spool";
  if (call === "open" && path.endsWith(".shard") && !isMainThread) return "hashing the spooled shard";
  if (call === "link" && /\/tpu_\d+\/shard_\d+\.(safetensors|pkl\.gz)$/.test(path))
    return "data object created";
  if (call === "open" && path.endsWith("/run.json") && hasData) return "run.json looked at again";
  if (call === "link" && /\/tpu_\d+\/shard_\d+\.json$/.test(path)) return "commit created";
  if (call === "unlink" && /\/leases\/tpu_/.test(path)) return "lease released";
  if (call === "rename" && /\/(metadata|checkpoint_worker_\d+|index)\.json$/.test(path))
    return "derived files";
  return undefined;
}

async function announce(step) {
  if (step === undefined) return;
  hasData ||= step === "data object created";
  // One write of a fixed length: a reader never sees a mixture of two steps.
  writeSync(out, step.padEnd(64), 0);
  if (step !== wanted || ++count !== Number(times)) return;
  closeSync(openSync(`${file}.held`, "w"));
  // A test that is gone lets go of nobody.
  while (!existsSync(`${file}.go`) && process.ppid === parent) await pause();
  await pause(); // A signal that was sent before has arrived when the worker goes on.
}

function pause() {
  return new Promise((resolve) => setTimeout(resolve, LOOK_MS));
}

const isWorker = /\/(sluice|hash-thread|scan-thread)\.js$/.test(process.argv[1] ?? ""); // In a thread: its own file.
const out = isWorker && file ? openSync(file, constants.O_CREAT | constants.O_WRONLY) : undefined;
if (out !== undefined) {
  const promises = createRequire(import.meta.url)("node:fs/promises");
  for (const call of ["open", "link", "unlink", "rename"]) {
    const original = promises[call];
    promises[call] = async (...args) => {
      const result = await original(...args);
      const path = String(call === "link" || call === "rename" ? args[1] : args[0]);
      await announce(stepOf(call, path, args[1]));
      return result;
    };
  }
  syncBuiltinESMExports();
}
