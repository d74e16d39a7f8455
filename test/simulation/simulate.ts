// `npm run simulate`: many seeds, one after the other.

import { parseArgs } from "node:util";
import { Counts } from "./counts.js";
import { runSeed } from "./run-seed.js";

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "1000" },
    seed: { type: "string" },
    trace: { type: "boolean", default: false },
  },
});
const first = Number(values.seed ?? 0);
const count = values.seed !== undefined && values.seeds === "1000" ? 1 : Number(values.seeds);
const counts = new Counts();
const started = performance.now();
let events = 0;
let failed = 0;
for (let seed = first; seed < first + count; seed++) {
  const result = await runSeed(String(seed), values.trace ? { onLine: (line) => console.log(line) } : {});
  events += result.events;
  counts.merge(result.counts.values);
  if (result.failure) {
    failed += 1;
    console.log(`seed ${seed}: ${result.failure}`);
    if (failed >= 20) break;
  }
}
const seconds = (performance.now() - started) / 1000;
console.log(counts.table());
console.log(
  `${count} seeds in ${seconds.toFixed(1)} s, ${(count / seconds).toFixed(1)} a second, ${events} events, ${failed} failed`,
);
