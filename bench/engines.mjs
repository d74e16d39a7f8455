// How near an engine's forward passes come to what the machine can do: floating-point operations a second of real batches beside
// those of plain matrix products of the model's own shape by the same library, in turn, in one run.
//
//   node bench/engines.mjs [--samples 8] [--threads 2] [--model DIR]      (after npm run build)
//
// Without --model: Qwen2.5-0.5B's shape with random weights (2 GB in a temporary folder). ARC prompts' lengths, all layers tapped.

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import * as ort from "onnxruntime-node";
import { createEngine } from "../dist/engine/engines.js";
import { OnnxModel } from "../dist/graph/onnx-model.js";
import { hookPoints } from "../dist/model/hooks.js";
import { buildGraph, openModel } from "../dist/model/model.js";
import { parseHooks } from "../dist/model/parse-hooks.js";
import { arcTokenIds } from "./arc-token-ids.mjs";
import { describeMachine } from "./machine.mjs";

const { values } = parseArgs({
  options: {
    samples: { type: "string", default: "8" },
    threads: { type: "string", default: String(availableParallelism()) },
    model: { type: "string" },
  },
});
const threads = Number(values.threads);
const folder = mkdtempSync(join(tmpdir(), "sluice-bench-"));
const seconds = (from) => (performance.now() - from) / 1000;

/** A product [rows, inner] x [inner, columns] in float32, and its operations a second. */
async function plainProduct(rows, inner, columns) {
  const m = new OnnxModel();
  const [x, w] = [
    m.input("x", "float32", [rows, inner]),
    m.floats("w", new Array(inner * columns).fill(0.5), [columns, inner]),
  ];
  m.node("Gemm", [x, w], { transB: { int: 1 } }, { out: "y" });
  m.output("y", "float32", [rows, columns]);
  const session = await ort.InferenceSession.create(m.encode(), {
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    graphOptimizationLevel: "all",
  });
  const input = { x: new ort.Tensor("float32", new Float32Array(rows * inner).fill(0.1), [rows, inner]) };
  await session.run(input);
  return async (times) => {
    const started = performance.now();
    for (let i = 0; i < times; i++) await session.run(input);
    return (2 * rows * inner * columns * times) / seconds(started);
  };
}

/** Operations of one sample: the linear layers', and those of causal attention that are not masked. */
function operationsOf(graph, length) {
  let total = 0;
  for (const node of graph.nodes) {
    if (node.op === "linear") total += 2 * length * graph.nodes[node.x].width * node.width;
    if (node.op === "attention") total += 2 * node.width * length * (length + 1);
  }
  return total;
}

try {
  let { model } = values;
  if (model === undefined) {
    model = join(folder, "model");
    const make = fileURLToPath(new URL("../tools/make-random-checkpoint.mjs", import.meta.url));
    spawnSync(process.execPath, [make, "--output", model], { stdio: ["ignore", "ignore", "inherit"] });
  }
  const checkpoint = await openModel(model);
  const { shape } = checkpoint;
  const taps = parseHooks("resid_post", "all", hookPoints(shape.build), shape.modules).map((tap) => tap.name);
  const graph = buildGraph(checkpoint, { taps, selection: "rows", tapDType: "float32" });
  const loaded = await createEngine("onnx", { threads }).load(graph, checkpoint.weights);
  const linears = graph.nodes.flatMap((n) => (n.op === "linear" ? [[graph.nodes[n.x].width, n.width]] : []));
  const [inner, columns] = linears.reduce((a, b) => (b[0] * b[1] > a[0] * a[1] ? b : a));
  const product = await plainProduct(1024, inner, columns);
  const samples = await arcTokenIds(Number(values.samples), 2048);
  let [operations, tokens, spent] = [0, 0, 0];
  const [rates, ratios] = [[], []];
  for (const ids of samples) {
    const before = await product(4);
    const started = performance.now();
    await loaded.run({
      samples: 1,
      length: ids.length,
      tokens: Int32Array.from(ids),
      lengths: Int32Array.of(ids.length),
      rows: Int32Array.from(ids, (_, i) => i),
    });
    const took = seconds(started);
    const after = await product(4);
    const done = operationsOf(graph, ids.length);
    rates.push((before + after) / 2);
    ratios.push(done / took / ((before + after) / 2));
    operations += done;
    tokens += ids.length;
    spent += took;
  }
  const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)];
  console.log(
    JSON.stringify({
      bench: "engines",
      ...describeMachine(),
      results: {
        engine: loaded.execution,
        samples: samples.length,
        tokens_per_s: tokens / spent,
        forward_gflop_s: operations / spent / 1e9,
        product_gflop_s: median(rates) / 1e9,
        /** Each sample beside the products just before and after it. */
        forward_to_product: { median: median(ratios), min: Math.min(...ratios), max: Math.max(...ratios) },
      },
    }),
  );
} finally {
  rmSync(folder, { recursive: true });
}
