// How a model lies on chips that share its work: Megatron-LM's layout (Shoeybi et al. 2019), found from the graph alone. A linear layer
// that reads whole rows is split by its output features, one that reads split rows by its input features, and its products are summed over
// the chips: one sum after attention and one after the MLP. All of this says where values lie, never what they are.

import type { Graph, GraphNode, ValueId } from "./graph.js";
import { inputsOf } from "./graph.js";
import type { TensorShapes } from "./weights.js";

/**
 * Where the features of a value lie: all of them on every chip, an equal part on each, or whole heads on each (in as many parts as the
 * heads allow: chips may have the same ones).
 */
export type Layout = "whole" | "features" | "heads";

/** The plan of one graph. */
export interface TensorParallel {
  /** Chips that share the work. */
  readonly chips: number;
  /** Parts of the heads: the largest divisor of `chips` that divides the heads of all attention layers. */
  readonly headParts: number;
  /**
   * Where what a linear layer or an embedding gives lies: where it is computed, and after that where it is read, if that is elsewhere.
   * Without the former a partitioner may rather gather the weights of all layers at once.
   */
  layoutsOf(node: GraphNode): readonly Layout[];
  /** The dimension along which a parameter is split in `chips` equal parts, chip by chip; null where every chip has all of it. */
  splitOf(name: string): number | null;
}

/** Plans a graph for `chips` chips. What they cannot divide evenly is on every chip. */
export function planTensorParallel(graph: Graph, shapes: TensorShapes, chips: number): TensorParallel {
  return new Planner(graph, shapes, chips);
}

class Planner implements TensorParallel {
  readonly chips: number;
  readonly headParts: number;
  readonly #nodes: readonly GraphNode[];
  readonly #shapes: TensorShapes;
  /** Of each value, where it is read. */
  readonly #layouts: Layout[] = [];
  readonly #byNode = new Map<GraphNode, readonly Layout[]>();
  readonly #splits = new Map<string, number>();

  constructor({ nodes }: Graph, shapes: TensorShapes, chips: number) {
    this.chips = chips;
    this.headParts = nodes.reduce(
      (parts, node) => (node.op === "attention" ? greatestDivisor(parts, node.heads) : parts),
      chips,
    );
    this.#nodes = nodes;
    this.#shapes = shapes;
    const wanted = this.#findWanted();
    for (const [i, node] of nodes.entries()) {
      const layouts = this.#place(node, wanted[i] ?? "whole");
      this.#layouts.push(layouts.at(-1) ?? "whole");
      this.#byNode.set(node, layouts);
    }
  }

  layoutsOf(node: GraphNode): readonly Layout[] {
    return this.#byNode.get(node) ?? [];
  }

  splitOf(name: string): number | null {
    return this.#splits.get(name) ?? null;
  }

  /** How what reads a value would like it: attention by heads, a linear layer by features. Whatever is added to the stream is whole. */
  #findWanted(): Layout[] {
    const wanted: Layout[] = this.#nodes.map(() => "whole");
    const want = (id: ValueId, layout: Layout) => {
      if (layout === "heads" || wanted[id] === "whole") wanted[id] = layout;
    };
    for (const [i, node] of [...this.#nodes.entries()].reverse()) {
      if (node.op === "attention") {
        want(node.q, "heads");
        if (node.kvHeads % this.headParts === 0) for (const id of [node.k, node.v]) want(id, "heads");
      } else if (node.op === "linear") want(node.x, "features");
      else if (node.rows === "tokens" && node.op !== "add")
        for (const id of inputsOf(node)) want(id, wanted[i] ?? "whole");
    }
    return wanted;
  }

  #place(node: GraphNode, wanted: Layout): readonly Layout[] {
    switch (node.op) {
      case "embed":
        // Rows of the table lie side by side in the file, and what they give is summed, where features would be gathered.
        this.#split(node.weight, 0, 1);
        return ["whole"];
      case "linear":
        return this.#placeLinear(node, this.#layouts[node.x] ?? "whole", wanted);
      case "attention":
        return [this.headParts > 1 ? "heads" : "whole"];
      case "embedPositions":
      case "add":
        return ["whole"];
      default: {
        const inputs = inputsOf(node).map((id) => this.#layouts[id] ?? "whole");
        return [inputs.find((layout) => layout !== "whole") ?? "whole"];
      }
    }
  }

  #placeLinear(node: GraphNode & { op: "linear" }, input: Layout, wanted: Layout): readonly Layout[] {
    const [inputs, outputs] = node.inputMajor ? [0, 1] : [1, 0];
    const isSplit = input !== "whole";
    const split = isSplit
      ? this.#split(node.weight, inputs, outputs)
      : this.#split(node.weight, outputs, inputs);
    const layout = isSplit || !this.#canHave(wanted, node.width) ? "whole" : wanted;
    // One part of the heads a chip: the same as one part of the features.
    const isEven = layout === "features" || (layout === "heads" && this.headParts === this.chips);
    if (split !== outputs || isEven) {
      // Beside its product; others are small.
      if (node.bias !== null && split === outputs) this.#split(node.bias, 0);
      return [layout];
    }
    return ["features", layout];
  }

  #canHave(layout: Layout, width: number): boolean {
    return layout === "heads" ? this.headParts > 1 : layout === "features" && width % this.chips === 0;
  }

  /** Splits a parameter along the first of the dimensions that can be divided. */
  #split(name: string, ...dimensions: number[]): number | undefined {
    const shape = this.#shapes.find(name)?.shape ?? [];
    const split = dimensions.find((dimension) => (shape[dimension] ?? 1) % this.chips === 0);
    if (split !== undefined && !this.#splits.has(name)) this.#splits.set(name, split);
    return this.#splits.get(name);
  }
}

function greatestDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestDivisor(b, a % b);
}
