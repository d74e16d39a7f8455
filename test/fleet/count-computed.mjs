// Preloaded into workers: for every spool file that one begins, a line goes to the file that SLUICE_TEST_COMPUTED names. So one sees
// how often units were computed, also by workers that were killed.

import { appendFileSync } from "node:fs";
import { createRequire, syncBuiltinESMExports } from "node:module";

const file = process.env.SLUICE_TEST_COMPUTED;
if (file && /\/sluice\.js$/.test(process.argv[1] ?? "")) {
  const promises = createRequire(import.meta.url)("node:fs/promises");
  const { open } = promises;
  promises.open = async (path, mode, ...rest) => {
    if (mode === "wx+" && String(path).endsWith(".shard")) appendFileSync(file, "1\n");
    return open(path, mode, ...rest);
  };
  syncBuiltinESMExports();
}
