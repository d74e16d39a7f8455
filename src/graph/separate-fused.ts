// Splits linear layers that project several things at once (GPT-2's q, k and v, Phi-3's gate and up) into one a thing. Chips
// that share a model each hold a part of every matrix: of a fused one an equal part would be all of q and none of v.

import type { Graph, GraphNode, ValueId } from "./graph.js";
import { inputsOf } from "./graph.js";
import { prune } from "./prune.js";

/** A part of a checkpoint's tensor, under a name of its own. */
export interface WeightPart {
  /** The tensor's name in the checkpoint. */
  readonly weight: string;
  /** The dimension that is cut: that of the output features. */
  readonly dimension: number;
  readonly from: number;
  readonly to: number;
}

/** A graph whose parameters may be parts. */
export interface SeparatedGraph {
  readonly graph: Graph;
  /** The parts by their names; other names are those of the checkpoint. */
  readonly parts: ReadonlyMap<string, WeightPart>;
}

/**
 * The same values, without linear layers that are read by slices of their features alone. Slices within groups stay (GPT-NeoX
 * fuses head by head, so that an equal part of its matrix holds whole heads).
 */
export function separateFused({ nodes, taps }: Graph): SeparatedGraph {
  const readers = new Map<ValueId, GraphNode[]>();
  for (const node of nodes)
    for (const input of inputsOf(node)) readers.set(input, [...(readers.get(input) ?? []), node]);
  const parts = new Map<string, WeightPart>();
  const name = (weight: string, dimension: number, from: number, to: number) => {
    const part = `${weight}[${from}:${to}]`;
    parts.set(part, { weight, dimension, from, to });
    return part;
  };
  const separated = nodes.map((node): GraphNode => {
    if (node.op !== "slice") return node;
    const linear = nodes[node.x];
    if (linear?.op !== "linear" || !(readers.get(node.x) ?? []).every(isPlainSlice)) return node;
    const { weight, bias, inputMajor } = linear;
    const { from, width } = node;
    return {
      ...linear,
      width,
      weight: name(weight, inputMajor ? 1 : 0, from, from + width),
      bias: bias === null ? null : name(bias, 0, from, from + width),
    };
  });
  return { graph: { nodes: prune(separated), taps }, parts };
}

function isPlainSlice(node: GraphNode): boolean {
  return node.op === "slice" && node.groups === 1;
}
