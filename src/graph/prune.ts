// Leaves out of a graph what no tap needs.

import { type GraphNode, inputsOf, type ValueId } from "./graph.js";

/** Only what the taps need, renumbered. */
export function prune(nodes: readonly GraphNode[]): GraphNode[] {
  const needed = new Set<ValueId>();
  for (let i = nodes.length - 1; i >= 0; i--) {
    const node = nodes[i];
    if (!node || (node.op !== "tap" && !needed.has(i))) continue;
    needed.add(i);
    for (const input of inputsOf(node)) needed.add(input);
  }
  const places = new Map([...needed].sort((a, b) => a - b).map((old, place) => [old, place]));
  const at = (old: ValueId) => places.get(old) ?? 0;
  return nodes.flatMap((node, i) => (needed.has(i) ? [renumber(node, at)] : []));
}

function renumber(node: GraphNode, at: (old: ValueId) => ValueId): GraphNode {
  switch (node.op) {
    case "embed":
    case "embedPositions":
      return node;
    case "add":
    case "mul":
      return { ...node, a: at(node.a), b: at(node.b) };
    case "attention":
      return { ...node, q: at(node.q), k: at(node.k), v: at(node.v) };
    default:
      return { ...node, x: at(node.x) };
  }
}
