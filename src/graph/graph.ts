// A model as a list of operations at the level at which papers draw them, free of any engine: each lowering turns it into
// what its engine wants, and the reference interprets it. Values are rows of features: one row a token of the batch.

/** A value: the result of the node of that index. */
export type ValueId = number;

/** Kinds of activation functions. `gelu_tanh` is the tanh approximation (Hendrycks and Gimpel 2016), `gelu` the exact one. */
export type ActivationKind = "silu" | "gelu" | "gelu_tanh" | "relu";

/** What each operation computes; x, a, b are indices of earlier nodes. */
export type Op =
  /** Rows of an embedding table [vocabulary, width], by token id. */
  | { readonly op: "embed"; readonly weight: string }
  /** Rows of a table [positions, width], by place in the sample (GPT-2). */
  | { readonly op: "embedPositions"; readonly weight: string }
  /** x W^T + b. The weight is [out, in], or [in, out] where `inputMajor` (GPT-2's Conv1D). */
  | {
      readonly op: "linear";
      readonly x: ValueId;
      readonly weight: string;
      readonly bias: string | null;
      readonly inputMajor: boolean;
    }
  /**
   * x / sqrt(mean(x^2) + epsilon) * (offset + weight) (Zhang and Sennrich 2019), in each of `groups` equal parts of the features
   * (the heads, for a q-k norm of one head's width). Gemma's weights are distances from 1: offset 1. Without a weight: the plain
   * normalised values.
   */
  | {
      readonly op: "rmsNorm";
      readonly x: ValueId;
      readonly weight: string | null;
      readonly epsilon: number;
      readonly offset: 0 | 1;
      readonly groups: number;
    }
  /** (x - mean) / sqrt(variance + epsilon) * weight + bias (Ba et al. 2016); without the last two where they are null. */
  | {
      readonly op: "layerNorm";
      readonly x: ValueId;
      readonly weight: string | null;
      readonly bias: string | null;
      readonly epsilon: number;
    }
  /**
   * Rotary position embedding (Su et al. 2021) in the half-split layout of Hugging Face: element i of a head is turned with
   * element i + n/2, where n = 2 * frequencies.length is the rotary part of the head (the rest of the head passes through).
   * The turned part is multiplied by `amplitude` (YaRN; 1 elsewhere).
   */
  | {
      readonly op: "rope";
      readonly x: ValueId;
      readonly heads: number;
      readonly frequencies: readonly number[];
      readonly amplitude: number;
    }
  /**
   * Causal softmax attention; each of the `kvHeads` serves heads / kvHeads query heads. With a `window`, position i sees the
   * positions i - window + 1 to i. With a `softcap`, a scaled score s becomes softcap * tanh(s / softcap) before the mask (Gemma 2).
   */
  | {
      readonly op: "attention";
      readonly q: ValueId;
      readonly k: ValueId;
      readonly v: ValueId;
      readonly heads: number;
      readonly kvHeads: number;
      readonly scale: number;
      readonly window: number | null;
      readonly softcap: number | null;
    }
  /**
   * The features [from, from + width / groups) of each of `groups` equal parts (models that project q, k and v at once;
   * GPT-NeoX does it head by head).
   */
  | { readonly op: "slice"; readonly x: ValueId; readonly groups: number; readonly from: number }
  /** x times a constant. */
  | { readonly op: "scale"; readonly x: ValueId; readonly factor: number }
  | { readonly op: "activation"; readonly x: ValueId; readonly kind: ActivationKind }
  | { readonly op: "add"; readonly a: ValueId; readonly b: ValueId }
  | { readonly op: "mul"; readonly a: ValueId; readonly b: ValueId }
  /** The rows named by the batch. */
  | { readonly op: "selectRows"; readonly x: ValueId }
  /** Over the rows named by the batch, one row a sample. */
  | { readonly op: "reduceRows"; readonly x: ValueId; readonly kind: "mean" | "max" }
  | { readonly op: "cast"; readonly x: ValueId; readonly dtype: "float32" | "bfloat16" }
  /** Names an output. */
  | { readonly op: "tap"; readonly x: ValueId; readonly name: string };

/** An operation with the shape and dtype of what it gives. */
export type GraphNode = Op & {
  /** Features a row. */
  readonly width: number;
  /** One row a token of the batch, a selected row, or a sample. */
  readonly rows: "tokens" | "selected" | "samples";
  readonly dtype: "float32" | "bfloat16";
};

/** A complete graph: nodes in order of computation. */
export interface Graph {
  readonly nodes: readonly GraphNode[];
  /** Names of the outputs, in the order in which engines give them. */
  readonly taps: readonly string[];
}

/** What a batch costs an engine in memory, for plan/BatchLimits. */
export interface GraphCost {
  /** Bytes a computed token: outputs twice (the binding copies them), and the widest intermediates in float32. */
  readonly bytesPerToken: number;
  /** Bytes a pair of tokens of one sample: attention scores in float32. */
  readonly bytesPerPair: number;
}

/** The indices of the nodes that a node reads. */
export function inputsOf(node: GraphNode): readonly ValueId[] {
  switch (node.op) {
    case "embed":
    case "embedPositions":
      return [];
    case "add":
    case "mul":
      return [node.a, node.b];
    case "attention":
      return [node.q, node.k, node.v];
    default:
      return [node.x];
  }
}

/** The names of the parameters that a graph uses. */
export function weightsOf(graph: Graph): Set<string> {
  const names = graph.nodes.flatMap((node) => [
    "weight" in node ? node.weight : null,
    "bias" in node ? node.bias : null,
  ]);
  return new Set(names.filter((name) => name !== null));
}

/** The memory of a batch by the graph's own arithmetic. */
export function costOf(graph: Graph): GraphCost {
  let outputs = 0;
  let widest = 0;
  let heads = 0;
  for (const node of graph.nodes) {
    if (node.op === "tap") outputs += node.width * (node.dtype === "bfloat16" ? 2 : 4);
    else widest = Math.max(widest, node.width);
    if (node.op === "attention") heads = Math.max(heads, node.heads);
  }
  return { bytesPerToken: 2 * outputs + 6 * 4 * widest, bytesPerPair: heads * 4 };
}

/** One line a node, for people and for tests: `%3 = linear(%2, q.weight, bias q.bias) : tokens x 64 float32`. */
export function dumpGraph(graph: Graph): string {
  return graph.nodes
    .map((node, i) => {
      const { width, rows, dtype, op, ...rest } = node;
      const text = Object.entries(rest).map(([key, value]) => {
        if (["x", "a", "b", "q", "k", "v"].includes(key)) return `%${value}`;
        if (Array.isArray(value))
          return `${key} [${value.map((n: number) => Number(n.toPrecision(6))).join(" ")}]`;
        return value === null || value === false ? "" : `${key} ${value}`;
      });
      return `%${i} = ${op}(${text.filter((part) => part !== "").join(", ")}) : ${rows} x ${width} ${dtype}`;
    })
    .join("\n");
}
