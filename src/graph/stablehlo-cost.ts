// What a batch costs in memory when it is computed by XLA, for plan/BatchLimits.

import { costOf, type Graph, type GraphCost } from "./graph.js";
import { scoreBytesPerToken } from "./stablehlo-attention.js";

/**
 * Outputs count four times: of the batch that is computed and of the one that is written, on the device and on the host. Scores are
 * those of one block of queries, whatever the sample's length. XLA says what it needs besides (ExecutableMemory.temporary): for
 * Qwen2.5-0.5B 46 to 114 kB a token, where this says 145.
 */
export function hloCostOf(graph: Graph): GraphCost {
  let outputs = 0;
  let scores = 0;
  for (const node of graph.nodes) {
    if (node.op === "tap") outputs += node.width * (node.dtype === "bfloat16" ? 2 : 4);
    if (node.op === "attention") scores = Math.max(scores, scoreBytesPerToken(node.heads));
  }
  return { bytesPerToken: costOf(graph).bytesPerToken + 2 * outputs + scores, bytesPerPair: 0 };
}
