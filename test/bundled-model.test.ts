// The bundled model means something: its loss on held-out prompts, computed again with what ships. The language-model head is
// the test's own (final RMSNorm and the tied embedding); the hidden states are the engine's.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { expect, it } from "vitest";
import { z } from "zod";
import { parseArcTask, renderArcPrompt } from "../src/data/arc.js";
import { openTokenizer } from "../src/data/tokenizer.js";
import { batchOf, runTaps } from "../src/engine/engine.suite.js";
import { onnxEngine } from "../src/engine/onnx.js";
import { readTensor } from "../src/graph/read-tensor.js";
import { buildGraph, openModel } from "../src/model/model.js";
import { BUNDLED_MODEL } from "./helpers.js";

const factsSchema = z.object({
  unigram_entropy: z.number(),
  tested: z.object({ ids: z.array(z.string()), loss: z.number() }),
});

it("has half the unigram entropy's loss on held-out prompts, and what its card says", {
  timeout: 120_000,
}, async () => {
  const facts = factsSchema.parse(JSON.parse(readFileSync(join(BUNDLED_MODEL, "heldout.json"), "utf8")));
  const checkpoint = await openModel(BUNDLED_MODEL);
  const tokenizer = await openTokenizer(BUNDLED_MODEL);
  const tap = `blocks.${checkpoint.shape.layers - 1}.hook_resid_post`;
  const graph = buildGraph(checkpoint, { taps: [tap], selection: "rows", tapDType: "float32" });
  const model = await onnxEngine({ threads: 2 }).load(graph, checkpoint.weights);
  const parameter = (name: string) => {
    const tensor = checkpoint.weights.find(name);
    if (!tensor) throw new Error(`no ${name}`);
    return readTensor(tensor);
  };
  const norm = parameter("norm.weight");
  const embedding = parameter("embed_tokens.weight");
  const width = norm.length;
  const lines = gunzipSync(readFileSync(join(BUNDLED_MODEL, "../arc/tasks.jsonl.gz")))
    .toString()
    .trim()
    .split("\n");
  let loss = 0;
  let count = 0;
  for (const id of facts.tested.ids) {
    const task = parseArcTask(JSON.parse(lines.find((line) => line.startsWith(`{"id":"${id}"`)) ?? "{}"));
    if ("reason" in task) throw new Error(task.reason);
    const ids = tokenizer?.encode(renderArcPrompt(task), "tokenizer") ?? [];
    const hidden = (await runTaps(model, batchOf([ids]))).get(tap) ?? new Float32Array();
    for (let i = 0; i + 1 < ids.length; i++) {
      const row = hidden.subarray(i * width, (i + 1) * width);
      const scale = 1 / Math.sqrt(row.reduce((sum, v) => sum + v * v, 0) / width + 1e-6);
      const normed = row.map((v, k) => v * scale * (norm[k] ?? 0));
      const logits = Array.from({ length: checkpoint.shape.vocabulary }, (_, t) =>
        normed.reduce((sum, v, k) => sum + v * (embedding[t * width + k] ?? 0), 0),
      );
      const top = Math.max(...logits);
      const total = logits.reduce((sum, logit) => sum + Math.exp(logit - top), 0);
      loss += Math.log(total) + top - (logits[ids[i + 1] ?? 0] ?? 0);
      count += 1;
    }
  }
  await model.close();
  expect(count).toBeGreaterThan(1000);
  expect(loss / count).toBeLessThan(facts.unigram_entropy / 2);
  expect(Math.abs(loss / count / facts.tested.loss - 1)).toBeLessThan(0.01);
});
