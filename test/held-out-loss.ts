// The bundled model's loss on held-out prompts, computed again with what ships. The language-model head is the test's own (final
// RMSNorm and the tied embedding); the hidden states are the engine's.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { z } from "zod";
import { parseArcTask, renderArcPrompt } from "../src/data/arc.js";
import { openTokenizer } from "../src/data/tokenizer.js";
import { batchOf, runTaps } from "../src/engine/model-fixtures.suite.js";
import { onnxEngine } from "../src/engine/onnx.js";
import { readTensor } from "../src/graph/read-tensor.js";
import { buildGraph, openModel } from "../src/model/model.js";
import { BUNDLED_MODEL } from "./helpers.js";

const MAX_TOKENS = 2048;
const factsSchema = z.object({
  unigram_entropy: z.number(),
  loss: z.number(),
  held_out: z.array(z.string()),
  tested: z.object({ ids: z.array(z.string()), loss: z.number() }),
});

/** What the training script found, which the model's card prints. */
export function readFacts(): z.infer<typeof factsSchema> {
  return factsSchema.parse(JSON.parse(readFileSync(join(BUNDLED_MODEL, "heldout.json"), "utf8")));
}

/** Mean loss over all predicted tokens of these tasks' prompts, cut at 2,048 tokens, each alone; in nats. */
export async function heldOutLoss(ids: readonly string[]): Promise<{ loss: number; count: number }> {
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
  const logits = new Float64Array(checkpoint.shape.vocabulary);
  const normed = new Float64Array(width);
  let total = 0;
  let count = 0;
  for (const id of ids) {
    const task = parseArcTask(JSON.parse(lines.find((line) => line.startsWith(`{"id":"${id}"`)) ?? "{}"));
    if ("reason" in task) throw new Error(task.reason);
    const tokens = (tokenizer?.encode(renderArcPrompt(task), "tokenizer") ?? []).slice(0, MAX_TOKENS);
    const hidden = (await runTaps(model, batchOf([tokens]))).get(tap) ?? new Float32Array();
    for (let i = 0; i + 1 < tokens.length; i++) {
      const row = hidden.subarray(i * width, (i + 1) * width);
      let squares = 0;
      for (const v of row) squares += v * v;
      const scale = 1 / Math.sqrt(squares / width + 1e-6);
      for (let k = 0; k < width; k++) normed[k] = (row[k] ?? 0) * scale * (norm[k] ?? 0);
      let top = Number.NEGATIVE_INFINITY;
      for (let t = 0; t < logits.length; t++) {
        let sum = 0;
        for (let k = 0; k < width; k++) sum += (normed[k] ?? 0) * (embedding[t * width + k] ?? 0);
        logits[t] = sum;
        top = Math.max(top, sum);
      }
      let exponentials = 0;
      for (const logit of logits) exponentials += Math.exp(logit - top);
      total += Math.log(exponentials) + top - (logits[tokens[i + 1] ?? 0] ?? 0);
      count += 1;
    }
  }
  await model.close();
  return { loss: total / count, count };
}
