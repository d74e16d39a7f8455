import { defineConfig } from "vitest/config";
import { reporters } from "./vitest.reporters.js";

// What needs Node alone, as `npm test` does, and takes longer: whole sweeps of faults, the simulation's thousand seeds, damaged files by
// the thousand, more whole runs. None of it measures time, so that files may run side by side.
export default defineConfig({
  test: {
    include: ["test/long/*.test.ts"],
    pool: "forks",
    maxWorkers: 2,
    testTimeout: 900_000,
    hookTimeout: 300_000,
    ...reporters("long"),
  },
});
