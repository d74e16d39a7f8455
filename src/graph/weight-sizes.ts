// How large the parameters are that a graph uses, by what engines do with them.

import { elementsOf } from "../base/dtype.js";
import { type Graph, weightsOf } from "./graph.js";
import { isStored, type Weights } from "./weights.js";

/** Sizes of the parameters of a graph. */
export interface WeightSizes {
  /** Elements of the matrices of all linear layers, and of the largest. */
  readonly linearElements: number;
  readonly largestLinear: number;
  /** Elements of everything else: tables of embeddings, norms, biases. */
  readonly otherElements: number;
  /** Bytes of both, in the files that engines map. */
  readonly storedBytes: number;
  /** Of these, bytes that lie in no file until they are made. */
  readonly madeBytes: number;
}

/** Measures the parameters that a graph uses; one that several operations use counts once. */
export function measureWeights(graph: Graph, weights: Weights): WeightSizes {
  const linear = new Set(graph.nodes.flatMap((node) => (node.op === "linear" ? [node.weight] : [])));
  let [linearElements, largestLinear, otherElements, storedBytes, madeBytes] = [0, 0, 0, 0, 0];
  for (const name of weightsOf(graph)) {
    const tensor = weights.find(name);
    if (!tensor) continue;
    const elements = elementsOf(tensor.shape);
    storedBytes += tensor.length;
    if (!isStored(tensor)) madeBytes += tensor.length;
    if (linear.has(name)) {
      linearElements += elements;
      largestLinear = Math.max(largestLinear, elements);
    } else {
      otherElements += elements;
    }
  }
  return { linearElements, largestLinear, otherElements, storedBytes, madeBytes };
}
