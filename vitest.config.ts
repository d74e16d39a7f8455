import { defineConfig } from "vitest/config";
import { reporters } from "./vitest.reporters.js";

// What `npm test` runs: what needs Node alone, as much of it as is done within three minutes. Longer ones are in test/long/.
export default defineConfig({
  test: {
    include: ["src/**/*.test.ts", "test/*.test.ts"],
    pool: "forks",
    maxWorkers: 3, // Half of the time a test waits for a process that it has started.
    // For what hangs: a test takes a minute where four of them share two processors.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    ...reporters("unit"),
  },
});
