// Padding and batch sizes on the lengths of real ARC prompts, and the planner's speed. node bench/planner.mjs (after npm run build)

import { batchesOf } from "../dist/plan/batches.js";
import { arcTokenIds } from "./arc-token-ids.mjs";
import { describeMachine } from "./machine.mjs";

const lengths = (await arcTokenIds(800, 2048)).map((ids) => ids.length);
const results = {};
for (const maxTokens of [2048, 4096, 8192]) {
  const limits = { maxTokens, maxSamples: 4096, maxBytes: 2 ** 50, bytesPerToken: 1, bytesPerPair: 1 };
  let [real, computed, batches] = [0, 0, 0];
  for (let i = 0; i < lengths.length; i += 32) {
    const unit = lengths.slice(i, i + 32);
    real += unit.reduce((a, b) => a + b, 0);
    for (const batch of batchesOf(unit, limits)) {
      computed += batch.samples.length * batch.length;
      batches += 1;
    }
  }
  results[`batch_tokens_${maxTokens}`] = {
    padding_share: 1 - real / computed,
    samples_per_batch: lengths.length / batches,
  };
}
const many = Array.from({ length: 65_536 }, (_, i) => lengths[i % lengths.length]);
const started = performance.now();
batchesOf(many, { maxTokens: 8192, maxSamples: 4096, maxBytes: 2 ** 50, bytesPerToken: 1, bytesPerPair: 1 });
results.seconds_for_65536_samples = (performance.now() - started) / 1000;
console.log(JSON.stringify({ bench: "planner", ...describeMachine(), results }));
