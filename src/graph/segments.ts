// Cuts a graph where only one value is alive: in a decoder that is the residual stream, before and after attention and MLP.
// A lowering that makes a function of each part finds equal layers by equal functions, without knowing what a layer is.

import { type Graph, inputsOf, type ValueId } from "./graph.js";

/** Nodes that are computed together. */
export interface Segment {
  /** Indices of the graph's nodes, ascending. */
  readonly nodes: readonly ValueId[];
  /** Those of them that are read outside: by later segments, or by what is given back. */
  readonly results: readonly ValueId[];
}

/** The segments of a graph up to what is given back: nodes whose rows are the batch's tokens, in order. */
export function segmentsOf(graph: Graph): Segment[] {
  const inner = graph.nodes.flatMap((node, i) => (node.rows === "tokens" && node.op !== "tap" ? [i] : []));
  const isInner = new Set(inner);
  const lastUse = new Map<ValueId, ValueId>();
  for (const [i, node] of graph.nodes.entries()) {
    // What is given back comes last, whenever it was computed: it keeps no value alive here.
    if (isInner.has(i)) for (const input of inputsOf(node)) lastUse.set(input, i);
  }
  const parts: ValueId[][] = [];
  let part: ValueId[] = [];
  let alive: ValueId[] = [];
  for (const i of inner) {
    part.push(i);
    alive = [...alive, i].filter((value) => (lastUse.get(value) ?? -1) > i);
    if (alive.length > 1) continue;
    parts.push(part);
    part = [];
  }
  if (part.length > 0) parts.push(part);
  const lastRead = new Map<ValueId, ValueId>();
  for (const [i, node] of graph.nodes.entries()) for (const input of inputsOf(node)) lastRead.set(input, i);
  return parts.map((nodes) => {
    const end = nodes.at(-1) ?? 0;
    return { nodes, results: nodes.filter((id) => (lastRead.get(id) ?? -1) > end) };
  });
}
