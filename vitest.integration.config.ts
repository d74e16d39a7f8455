import { defineConfig } from "vitest/config";
import { reporters } from "./vitest.reporters.js";

// What `.ci/run` adds to `npm test`: long fault tests with real processes, and readers in Python.
export default defineConfig({
  test: {
    include: ["test/integration/**/*.test.ts"],
    pool: "forks",
    maxWorkers: 1,
    fileParallelism: false,
    testTimeout: 900_000,
    hookTimeout: 300_000,
    ...reporters("integration"),
  },
});
