// Which linear layers attention scores hang on. Softmax exponentiates scores, so an error there is an error of units where a score is
// large, as the outlier features of real models make them: a lowering that rounds keeps more bits of what these read.

import type { Graph, GraphNode } from "./graph.js";

/** The linear layers that make queries or keys (fused ones, that make values too, among them). */
export function scoreProjections(graph: Graph): Set<GraphNode> {
  const found = new Set<GraphNode>();
  const look = (node: GraphNode | undefined): void => {
    if (node?.op === "linear") found.add(node);
    else if (node && BETWEEN.has(node.op) && "x" in node) look(graph.nodes[node.x]);
  };
  for (const node of graph.nodes) {
    if (node.op !== "attention") continue;
    look(graph.nodes[node.q]);
    look(graph.nodes[node.k]);
  }
  return found;
}

/** What may lie between a projection and its scores. */
const BETWEEN: ReadonlySet<GraphNode["op"]> = new Set(["rope", "rmsNorm", "layerNorm", "slice", "scale"]);
