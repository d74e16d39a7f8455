// The forward passes of a job and nothing else: same model, same batches, outputs dropped. Its JSON is what end-to-end.mjs
// compares the whole job with. node bench/bare-forward.mjs MODEL DATASET SAMPLES_PER_SHARD [flags of extract]

import { readFileSync } from "node:fs";
import { resolveExtractOptions } from "../dist/cli/extract-options.js";
import { buildProgram } from "../dist/cli/main.js";
import { createEngine } from "../dist/engine/engines.js";
import { buildGraph } from "../dist/model/model.js";
import { batchesOf } from "../dist/plan/batches.js";
import { planRun } from "../dist/run/run-plan.js";

const program = buildProgram();
const extract = program.commands.find((command) => command.name() === "extract");
extract.parseOptions(process.argv.slice(2));
const plan = await planRun(resolveExtractOptions(extract.opts(), {}));
const { checkpoint, load, limits, options } = plan;
const samples = readFileSync(options.dataset, "utf8")
  .trim()
  .split("\n")
  .map((line) => Int32Array.from(JSON.parse(line).token_ids));
const graph = buildGraph(checkpoint, load);
const started = performance.now();
const model = await createEngine(load.engine, load).load(graph, checkpoint.weights);
const loadSeconds = (performance.now() - started) / 1000;
await model.run({
  samples: 1,
  length: 8,
  tokens: new Int32Array(8),
  lengths: Int32Array.of(8),
  rows: Int32Array.of(0),
});
let [seconds, real, computed, batches] = [0, 0, 0, 0];
for (let i = 0; i < samples.length; i += options.samplesPerShard) {
  const unit = samples.slice(i, i + options.samplesPerShard);
  for (const batch of batchesOf(
    unit.map((s) => s.length),
    limits,
  )) {
    const chosen = batch.samples.map((s) => unit[s]);
    const tokens = new Int32Array(chosen.length * batch.length);
    for (const [row, ids] of chosen.entries()) tokens.set(ids, row * batch.length);
    const rows = Int32Array.from(
      chosen.flatMap((ids, row) => Array.from(ids, (_, p) => row * batch.length + p)),
    );
    const before = performance.now();
    await model.run({
      samples: chosen.length,
      length: batch.length,
      tokens,
      lengths: Int32Array.from(chosen, (ids) => ids.length),
      rows,
    });
    seconds += (performance.now() - before) / 1000;
    real += rows.length;
    computed += tokens.length;
    batches += 1;
  }
}
console.log(
  JSON.stringify({
    seconds,
    load_seconds: loadSeconds,
    real_tokens: real,
    computed_tokens: computed,
    batches,
    tokens_per_s: real / seconds,
  }),
);
process.exit(0);
