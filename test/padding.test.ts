// The planner on the lengths of real ARC prompts: the bound that the project promises.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { expect, it } from "vitest";
import { parseArcTask, renderArcPrompt } from "../src/data/arc.js";
import { openTokenizer } from "../src/data/tokenizer.js";
import { batchesOf } from "../src/plan/batches.js";
import { BUNDLED_MODEL } from "./helpers.js";

it("computes at most 8 % padding at 2,048 tokens a batch, in units of 32 ARC prompts cut at 2,048", async () => {
  const tokenizer = await openTokenizer(BUNDLED_MODEL);
  const lines = gunzipSync(readFileSync(join(BUNDLED_MODEL, "../arc/tasks.jsonl.gz")))
    .toString()
    .trim()
    .split("\n");
  const lengths = lines.map((line) => {
    const task = parseArcTask(JSON.parse(line));
    if ("reason" in task) throw new Error(task.reason);
    return Math.min(2048, tokenizer?.encode(renderArcPrompt(task), "never").length ?? 0);
  });
  const limits = { maxTokens: 2048, maxSamples: 4096, maxBytes: 2 ** 50, bytesPerToken: 1, bytesPerPair: 1 };
  let real = 0;
  let computed = 0;
  for (let i = 0; i < lengths.length; i += 32) {
    const unit = lengths.slice(i, i + 32);
    real += unit.reduce((a, b) => a + b);
    for (const { samples, length } of batchesOf(unit, limits)) computed += samples.length * length;
  }
  expect(lengths).toHaveLength(800);
  expect(1 - real / computed).toBeLessThanOrEqual(0.08);
});
