// Preloaded into a worker: how late its event loop is, in ms, written to EVENT_LOOP_DELAY_FILE at exit. It is watched from where the
// worker listens to signals: before that Node loads modules, which takes what it takes. `own` is without the time in which others had the
// processor (Linux tells it): on a busy machine a loop that does little is late, too. That is what the main thread has waited for a
// processor, and what it has waited for another thread of its process that waited for one, such as V8's, which collect garbage with it.

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createHistogram } from "node:perf_hooks";

const RESOLUTION_MS = 10;
const TASKS = `/proc/${process.pid}/task`;

/** Milliseconds that a thread has run, and waited for a processor; null where nothing tells. */
function timesOf(task) {
  try {
    const [ran, waited] = readFileSync(`${TASKS}/${task}/schedstat`, "latin1").split(" ");
    return { ran: Number(ran) / 1e6, waited: Number(waited) / 1e6 };
  } catch {
    return null;
  }
}

/** The times of all threads; null where nothing tells. */
function look() {
  const main = timesOf(process.pid);
  if (main === null) return null;
  const waited = new Map();
  for (const task of readdirSync(TASKS))
    if (task !== String(process.pid)) waited.set(task, timesOf(task)?.waited ?? 0);
  return { main, waited };
}

/** How late a tick is by what the process does itself. At least by what the main thread has run: that is nobody else's. */
function ownLateness(late, before, now) {
  const ran = now.main.ran - before.main.ran;
  const others = [...now.waited].map(([task, ms]) => ms - (before.waited.get(task) ?? 0));
  const rest = late - (now.main.waited - before.main.waited) - Math.max(0, ...others);
  return Math.max(Math.min(late, ran), rest);
}

if (process.argv[1]?.endsWith("sluice.js")) {
  const [all, own] = [createHistogram(), createHistogram()];
  const record = (histogram, ms) => histogram.record(Math.max(1, Math.round(ms * 1000)));
  let isTold = false;
  const watch = () => {
    let before = performance.now();
    let seen = look();
    isTold = seen !== null;
    setInterval(() => {
      const [now, seenNow] = [performance.now(), look()];
      const late = now - before - RESOLUTION_MS;
      record(all, late);
      record(own, seen && seenNow ? ownLateness(late, seen, seenNow) : late);
      before = now;
      seen = seenNow;
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
