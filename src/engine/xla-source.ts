// A model as the XLA engine compiles it: its graph, what the lowering has to know of its parameters, and where their bytes are.

import { type Graph, weightsOf } from "../graph/graph.js";
import { type SeparatedGraph, separateFused, type WeightPart } from "../graph/separate-fused.js";
import { planTensorParallel, type TensorParallel } from "../graph/tensor-parallel.js";
import type { StoredWeights, TensorShapes, Weights } from "../graph/weights.js";
import { storeMadeWeights } from "./made-weights.js";

/** What is compiled and uploaded. */
export interface XlaModelSource {
  readonly graph: Graph;
  readonly shapes: TensorShapes;
  readonly compute: "float32" | "bfloat16";
  /** Where several devices share a program. */
  readonly plan: TensorParallel | undefined;
  /** Parameters that are parts of tensors. */
  readonly parts: ReadonlyMap<string, WeightPart>;
  readonly stored: StoredWeights;
}

/** Prepares a model for groups of `tensorParallel` devices. @throws SluiceError as {@link storeMadeWeights}. */
export function prepareModel(
  graph: Graph,
  weights: Weights,
  options: { readonly compute: "float32" | "bfloat16"; readonly tensorParallel?: number },
): XlaModelSource {
  const { compute, tensorParallel = 1 } = options;
  const stored = storeMadeWeights(weights, weightsOf(graph));
  if (tensorParallel === 1)
    return { graph, shapes: stored, compute, plan: undefined, parts: new Map(), stored };
  const separated = separateFused(graph);
  const shapes = shapesOf(stored, separated);
  const plan = planTensorParallel(separated.graph, shapes, tensorParallel);
  return { ...separated, shapes, compute, plan, stored };
}

/** The parameters, those included that are parts of tensors. */
function shapesOf(weights: Weights, { parts }: SeparatedGraph): TensorShapes {
  return {
    find: (name) => {
      const part = parts.get(name);
      const tensor = weights.find(part?.weight ?? name);
      if (!tensor || !part) return tensor;
      const shape = tensor.shape.map((n, i) => (i === part.dimension ? part.to - part.from : n));
      return { dtype: tensor.dtype, shape };
    },
  };
}
