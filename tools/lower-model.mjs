// Writes the StableHLO program that the XLA engine compiles for a model and one shape of batch: all layers' resid_post, as stored in
// bfloat16. To be read, or compiled for a TPU that is not here (tools/compile_for_tpu.py). Needs `npm run build`.
//
//   node tools/lower-model.mjs --model DIR --samples 4 --length 256 --output program.mlir [--layers 2] [--compute-dtype bfloat16]
//       [--tensor-parallel 4]

import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { prepareModel } from "../dist/engine/xla-source.js";
import { lowerToStableHlo } from "../dist/graph/stablehlo.js";
import { buildGraph, openModel } from "../dist/model/model.js";

const string = { type: "string" };
const { values } = parseArgs({
  options: {
    model: string,
    samples: string,
    length: string,
    layers: string,
    output: string,
    "compute-dtype": { ...string, default: "bfloat16" },
    "tensor-parallel": { ...string, default: "1" },
  },
});
const checkpoint = await openModel(values.model);
const layers = Number(values.layers ?? checkpoint.shape.layers);
const taps = Array.from({ length: layers }, (_, layer) => `blocks.${layer}.hook_resid_post`);
const graph = buildGraph(checkpoint, { taps, selection: "rows", tapDType: "bfloat16" });
const compute = values["compute-dtype"];
const tensorParallel = Number(values["tensor-parallel"]);
const source = prepareModel(graph, checkpoint.weights, { compute, tensorParallel });
const [samples, length] = [Number(values.samples), Number(values.length)];
const shape = { samples, length, rows: samples * length };
const { text } = lowerToStableHlo(source.graph, source.shapes, { ...source, shape });
writeFileSync(values.output, text);
