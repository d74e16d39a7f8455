// Preloaded into a worker: how late its event loop is, in ms, written to EVENT_LOOP_DELAY_FILE at exit.

import { writeFileSync } from "node:fs";
import { monitorEventLoopDelay } from "node:perf_hooks";

const RESOLUTION_MS = 10;

if (process.argv[1]?.endsWith("sluice.js")) {
  const delays = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  delays.enable();
  process.on("exit", () => {
    const late = (ns) => Math.max(0, Math.round(ns / 1e5) / 10 - RESOLUTION_MS);
    const [p50, p99] = [50, 99].map((p) => late(delays.percentile(p)));
    writeFileSync(
      process.env.EVENT_LOOP_DELAY_FILE,
      JSON.stringify({ p50, p99, max: late(delays.max), ticks: delays.count }),
    );
  });
}
