// Preloaded into workers: for every spool file that one begins, a line goes to the file that SLUICE_TEST_COMPUTED names. So one sees
// how often units were computed, also by workers that were killed. Where SLUICE_TEST_MAY_BEGIN names a file with a number in it, a
// worker waits before it begins a unit while that many were begun: so a test decides what happens before what on any machine.

import { appendFileSync, readFileSync, statSync } from "node:fs";
import { createRequire, syncBuiltinESMExports } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";

const parent = process.ppid;
const { SLUICE_TEST_COMPUTED: file, SLUICE_TEST_MAY_BEGIN: allowance } = process.env;
if (file && /\/sluice\.js$/.test(process.argv[1] ?? "")) {
  const promises = createRequire(import.meta.url)("node:fs/promises");
  const { open } = promises;
  promises.open = async (path, mode, ...rest) => {
    if (mode === "wx+" && String(path).endsWith(".shard")) {
      // A test that is gone opens no gate.
      while (allowance && process.ppid === parent && !mayBegin()) await sleep(20);
      appendFileSync(file, "1\n");
    }
    return open(path, mode, ...rest);
  };
  syncBuiltinESMExports();
}

function mayBegin() {
  const begun = (statSync(file, { throwIfNoEntry: false })?.size ?? 0) / 2;
  return begun < Number(readFileSync(allowance, "utf8"));
}
