// Preloaded into a worker: how late its event loop is, in ms, written to EVENT_LOOP_DELAY_FILE at exit. It is watched from where the
// worker listens to signals: before that Node loads modules, which takes what it takes. `own` is without the time in which the main
// thread could have run and others had the processor (Linux tells it): on a busy machine a loop that does little is late, too.

import { readFileSync, writeFileSync } from "node:fs";
import { createHistogram } from "node:perf_hooks";

const RESOLUTION_MS = 10;
const SCHEDULER = `/proc/${process.pid}/task/${process.pid}/schedstat`;

/** Milliseconds that the main thread has waited for a processor; null where nothing tells. */
function waitedMs() {
  try {
    return Number(readFileSync(SCHEDULER, "latin1").split(" ")[1]) / 1e6;
  } catch {
    return null;
  }
}

if (process.argv[1]?.endsWith("sluice.js")) {
  const [all, own] = [createHistogram(), createHistogram()];
  const record = (histogram, ms) => histogram.record(Math.max(1, Math.round(ms * 1000)));
  let isTold = false;
  const watch = () => {
    let before = performance.now();
    let waited = waitedMs();
    isTold = waited !== null;
    setInterval(() => {
      const [now, waitedNow] = [performance.now(), waitedMs()];
      const late = now - before - RESOLUTION_MS;
      record(all, late);
      record(own, late - ((waitedNow ?? 0) - (waited ?? 0)));
      before = now;
      waited = waitedNow;
    }, RESOLUTION_MS).unref();
  };
  process.on("newListener", function onListener(event) {
    if (event !== "SIGTERM") return;
    process.off("newListener", onListener);
    watch();
  });
  process.on("exit", () => {
    const rounded = (microseconds) => Math.round(microseconds / 100) / 10;
    const describe = (histogram) => {
      const [p50, p99] = [50, 99].map((p) => rounded(histogram.percentile(p)));
      return { p50, p99, max: rounded(histogram.max) };
    };
    writeFileSync(
      process.env.EVENT_LOOP_DELAY_FILE,
      JSON.stringify({ ...describe(all), own: isTold ? describe(own) : null, ticks: all.count }),
    );
  });
}
