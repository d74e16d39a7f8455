// How near each engine's forward passes come to what the machine can do: floating-point operations a second of real batches beside
// those of plain float32 matrix products of the model's own shape by the same library, in turn, in one run.
//
//   node bench/engines.mjs [--samples 8] [--threads 2] [--model DIR] [--plugin FILE] [--only xla/bfloat16]   (after npm run build)
//
// Without --model: Qwen2.5-0.5B's shape with random weights in bfloat16 (1 GB in a temporary folder). ARC prompts' lengths, all layers
// tapped. With --plugin, the library of a PJRT plug-in for CPUs: XLA too, in float32 and in bfloat16. Padding counts as lost time.
// For one core: taskset -c 0 node bench/engines.mjs --threads 1.

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import "../dist/engine/no-telemetry.js";
import * as ort from "onnxruntime-node";
import { createEngine } from "../dist/engine/engines.js";
import { openPlugin } from "../dist/engine/pjrt/plugin.js";
import { OnnxModel } from "../dist/graph/onnx-model.js";
import { HloFunction } from "../dist/graph/stablehlo-text.js";
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
    plugin: { type: "string" },
    only: { type: "string", multiple: true },
  },
});
/** Products before and after each sample. */
const PRODUCTS = 4;
const PRODUCT_ROWS = 1024;
const threads = Number(values.threads);
const folder = mkdtempSync(join(tmpdir(), "sluice-bench-"));
const seconds = (from) => (performance.now() - from) / 1000;

/** A product [rows, inner] x [columns, inner] in float32 by ONNX Runtime, to be run so many times. */
async function onnxProduct(rows, inner, columns) {
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
  return () => session.run(input);
}

/** The same by XLA. */
async function xlaProduct(rows, inner, columns) {
  process.env.NPROC = String(threads);
  const client = await (await openPlugin(values.plugin)).createClient({ cpuDevices: 1 });
  const specs = [
    [rows, inner],
    [columns, inner],
  ].map((shape) => ({ dtype: "float32", shape }));
  const f = new HloFunction();
  const [x, w] = specs.map(({ shape }) => f.argument(shape, "f32"));
  const y = f.dot(x, w, { contracting: [1, 1] });
  const executable = await client.compile({
    text: `module @product {\n${f.text("func.func public @main", [y])}\n}\n`,
    parameters: specs,
    outputs: [{ dtype: "float32", shape: [rows, columns] }],
  });
  const args = specs.map((spec) => {
    const data = new Float32Array(spec.shape[0] * spec.shape[1]).fill(0.1);
    return client.upload(new Uint8Array(data.buffer), spec, client.devices[0], "copy");
  });
  return async () => {
    const { outputs, done } = await executable.execute([args]);
    await done;
    for (const output of outputs[0]) output.release();
  };
}

/** The operations a second of a product. */
async function measureProduct(run, operations) {
  const started = performance.now();
  for (let i = 0; i < PRODUCTS; i++) await run();
  return (operations * PRODUCTS) / seconds(started);
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

/** Runs the samples on one engine, with products by its own library before and after each. */
async function measureEngine(checkpoint, graph, samples, { engine, compute }) {
  const linears = graph.nodes.flatMap((n) => (n.op === "linear" ? [[graph.nodes[n.x].width, n.width]] : []));
  const [inner, columns] = linears.reduce((a, b) => (b[0] * b[1] > a[0] * a[1] ? b : a));
  const product = await (engine === "xla" ? xlaProduct : onnxProduct)(PRODUCT_ROWS, inner, columns);
  const productOperations = 2 * PRODUCT_ROWS * inner * columns;
  await product();
  const loading = performance.now();
  const model = await createEngine(engine, { threads, compute, plugin: values.plugin }).load(
    graph,
    checkpoint.weights,
  );
  const loadSeconds = seconds(loading);
  const batchOf = (ids) => ({
    samples: 1,
    length: ids.length,
    tokens: Int32Array.from(ids),
    lengths: Int32Array.of(ids.length),
    rows: Int32Array.from(ids, (_, i) => i),
  });
  const warming = performance.now();
  for (const ids of samples) await model.run(batchOf(ids)); // XLA compiles each shape once.
  const warmSeconds = seconds(warming);
  let [operations, tokens, spent] = [0, 0, 0];
  const [rates, ratios] = [[], []];
  for (const ids of samples) {
    const before = await measureProduct(product, productOperations);
    const started = performance.now();
    await model.run(batchOf(ids));
    const took = seconds(started);
    const after = await measureProduct(product, productOperations);
    const done = operationsOf(graph, ids.length);
    rates.push((before + after) / 2);
    ratios.push(done / took / ((before + after) / 2));
    operations += done;
    tokens += ids.length;
    spent += took;
  }
  const { execution } = model;
  await model.close();
  const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)];
  return {
    engine: execution,
    load_seconds: loadSeconds,
    first_pass_seconds: warmSeconds,
    tokens_per_s: tokens / spent,
    forward_gflop_s: operations / spent / 1e9,
    product_gflop_s: median(rates) / 1e9,
    /** Each sample beside the float32 products just before and after it. */
    forward_to_product: { median: median(ratios), min: Math.min(...ratios), max: Math.max(...ratios) },
  };
}

try {
  let { model } = values;
  if (model === undefined) {
    model = join(folder, "model");
    const make = fileURLToPath(new URL("../tools/make-random-checkpoint.mjs", import.meta.url));
    spawnSync(process.execPath, [make, "--output", model, "--dtype", "bfloat16"], {
      stdio: ["ignore", "ignore", "inherit"],
    });
  }
  const checkpoint = await openModel(model);
  const { shape } = checkpoint;
  const taps = parseHooks("resid_post", "all", hookPoints(shape.build), shape.modules).map((tap) => tap.name);
  const graph = buildGraph(checkpoint, { taps, selection: "rows", tapDType: "bfloat16" });
  const samples = await arcTokenIds(Number(values.samples), 2048);
  const engines = [{ engine: "onnx", compute: "float32" }];
  if (values.plugin !== undefined)
    engines.push({ engine: "xla", compute: "float32" }, { engine: "xla", compute: "bfloat16" });
  const results = [];
  const chosen = engines.filter((e) => values.only?.includes(`${e.engine}/${e.compute}`) ?? true);
  for (const engine of chosen) results.push(await measureEngine(checkpoint, graph, samples, engine));
  console.log(JSON.stringify({ bench: "engines", ...describeMachine(), samples: samples.length, results }));
} finally {
  rmSync(folder, { recursive: true });
}
process.exit(); // A plug-in's threads would keep it.
