// Loads a checkpoint with ONNX Runtime, runs one batch, and prints its private memory and the estimate: a process of its
// own, so that its memory is the engine's alone. Arguments: the checkpoint, packed or mapped.

import { readFileSync } from "node:fs";
import { onnxEngine } from "../../dist/engine/onnx.js";
import { estimateMemory } from "../../dist/estimate/memory.js";
import { costOf } from "../../dist/graph/graph.js";
import { measureWeights } from "../../dist/graph/weight-sizes.js";
import { buildGraph, openModel } from "../../dist/model/model.js";

const TOKENS = 256;
const [folder, weights] = process.argv.slice(2);
const privateBytes = () =>
  Number(/^RssAnon:\s+(\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))[1]) * 1024;
const before = privateBytes();
let highest = before;
const look = () => {
  highest = Math.max(highest, privateBytes());
};
const checkpoint = await openModel(folder);
const taps = [`blocks.${checkpoint.shape.layers - 1}.hook_resid_post`];
const graph = buildGraph(checkpoint, { taps, selection: "rows", tapDType: "float32" });
const model = await onnxEngine({ threads: 1, weights }).load(graph, checkpoint.weights);
look();
const tokens = Int32Array.from({ length: TOKENS }, (_, i) => (i * 7919) % 1000);
const rows = Int32Array.from(tokens.keys());
for (let i = 0; i < 3; i++) {
  await model.run({ samples: 1, length: TOKENS, tokens, lengths: Int32Array.of(TOKENS), rows });
  look();
}
const { bytesPerToken, bytesPerPair } = costOf(graph);
const batchBytes = TOKENS * bytesPerToken + TOKENS * TOKENS * bytesPerPair;
const sizes = measureWeights(graph, checkpoint.weights);
const estimate = estimateMemory(sizes, "onnx", weights, batchBytes);
process.stdout.write(`${JSON.stringify({ measured: highest - before, sizes, estimate, batchBytes })}\n`);
