// The lowering to ONNX. Linear layers are Gemm over all tokens of the batch, in the checkpoint's own layout; attention is
// ONNX Runtime's GroupQueryAttention. Samples are padded on the right and attention is causal, so that no mask is needed:
// the rows of padding are garbage, and no row that is given back sees them.

import { parse, relative } from "node:path";
import { SluiceError } from "../base/errors.js";
import type { Graph, GraphNode, ValueId } from "./graph.js";
import { type Attributes, MICROSOFT, ONNX_TYPES, OnnxModel } from "./onnx-model.js";
import type { StoredTensor, StoredWeights } from "./weights.js";

/** An ONNX model whose weights stay in the files that hold them. */
export interface LoweredOnnx {
  readonly model: Uint8Array;
  /** The folder that the external data's locations are relative to. */
  readonly folder: string;
  /** Inputs besides `tokens` [samples, length] int32: `rows` [selected] int32; or for mean and max `weights` [samples, 1, length] or [samples, length, 1]. */
  readonly selection: "rows" | "mean" | "max";
}

/**
 * Lowers a graph. Outputs are named as the taps; bfloat16 ones leave as uint16.
 * @param placement of the linear layers' matrices: `packed`, constants that ONNX Runtime widens and packs when it loads; or `mapped`, left in the file and widened when used.
 * @throws SluiceError `config` where weights lie on several drives.
 */
export function lowerToOnnx(
  graph: Graph,
  weights: StoredWeights,
  placement: "packed" | "mapped" = "packed",
): LoweredOnnx {
  return new Lowering(graph, weights, placement).lower();
}

class Lowering {
  readonly #graph: Graph;
  readonly #weights: StoredWeights;
  readonly #placement: "packed" | "mapped";
  readonly #m = new OnnxModel();
  readonly #values: string[] = [];
  readonly #shared = new Map<string, string>();
  #folder: string | undefined;
  #selection: "rows" | "mean" | "max" = "rows";
  /** Names of the batch's shape: [samples], [length], and the flat token ids. */
  readonly #samples: string;
  readonly #length: string;
  readonly #ids: string;

  constructor(graph: Graph, weights: StoredWeights, placement: "packed" | "mapped") {
    this.#graph = graph;
    this.#weights = weights;
    this.#placement = placement;
    const m = this.#m;
    const tokens = m.input("tokens", "int32", ["samples", "length"]);
    const shape = m.node("Shape", [tokens]);
    this.#samples = m.node("Slice", [shape, m.ints(0), m.ints(1)]);
    this.#length = m.node("Slice", [shape, m.ints(1), m.ints(2)]);
    this.#ids = m.node("Reshape", [tokens, m.ints(-1)]);
  }

  lower(): LoweredOnnx {
    for (const [i, node] of this.#graph.nodes.entries()) this.#values[i] = this.#emit(node);
    return { model: this.#m.encode(), folder: this.#folder ?? "/", selection: this.#selection };
  }

  #emit(node: GraphNode): string {
    const m = this.#m;
    const at = (id: ValueId) => this.#values[id] ?? "";
    switch (node.op) {
      case "embed":
        return this.#gather(node.weight, this.#ids);
      case "embedPositions": {
        const one = this.#gather(node.weight, this.#positions());
        const all = m.node("Expand", [
          m.node("Unsqueeze", [one, m.ints(0)]),
          this.#shape(this.#samples, this.#length, m.ints(node.width)),
        ]);
        return this.#flatten(all, node.width);
      }
      case "linear": {
        const inputs = [at(node.x), this.#matrix(node.weight, at(node.x))];
        if (node.bias !== null) inputs.push(this.#weight(node.bias));
        return m.node("Gemm", inputs, { transB: { int: node.inputMajor ? 0 : 1 } });
      }
      case "rmsNorm":
        return this.#rmsNorm(node, at(node.x));
      case "layerNorm":
        return this.#layerNorm(node, at(node.x));
      case "rope":
        return this.#rope(node);
      case "attention":
        return this.#attention(node);
      case "slice":
        return this.#slice(node, at(node.x));
      case "scale":
        return m.node("Mul", [at(node.x), m.floats(`factor_${node.factor}`, [node.factor])]);
      case "activation":
        return this.#activation(at(node.x), node.kind);
      case "add":
        return m.node("Add", [at(node.a), at(node.b)]);
      case "mul":
        return m.node("Mul", [at(node.a), at(node.b)]);
      case "selectRows":
        return m.node("Gather", [at(node.x), this.#input("rows", "int32", ["selected"])], {
          axis: { int: 0 },
        });
      case "reduceRows":
        return this.#reduce(at(node.x), node.kind, node.width);
      case "cast":
        return m.node("Cast", [at(node.x)], { to: { int: ONNX_TYPES[node.dtype] } });
      case "tap":
        return this.#output(node, at(node.x));
    }
  }

  #rmsNorm(node: GraphNode & { op: "rmsNorm" }, x: string): string {
    const m = this.#m;
    const width = node.width / node.groups;
    const parts = node.groups === 1 ? x : this.#flatten(x, width);
    const normal = m.node("SimplifiedLayerNormalization", [parts, this.#gain(node, width)], {
      axis: { int: -1 },
      epsilon: { float: node.epsilon },
      stash_type: { int: 1 },
    });
    return node.groups === 1 ? normal : this.#flatten(normal, node.width);
  }

  /** What normalised values are multiplied by; a sum of constants is folded when the session is created. */
  #gain(node: GraphNode & { op: "rmsNorm" }, width: number): string {
    const { weight, offset } = node;
    if (weight === null) return this.#ones(width);
    if (offset === 0) return this.#weight(weight);
    return this.#once(`gain_${weight}`, () => this.#m.node("Add", [this.#weight(weight), this.#ones(width)]));
  }

  #layerNorm(node: GraphNode & { op: "layerNorm" }, x: string): string {
    const inputs = [x, node.weight === null ? this.#ones(node.width) : this.#weight(node.weight)];
    if (node.bias !== null) inputs.push(this.#weight(node.bias));
    return this.#m.node("LayerNormalization", inputs, {
      axis: { int: -1 },
      epsilon: { float: node.epsilon },
    });
  }

  #ones(width: number): string {
    return this.#m.floats(
      `ones_${width}`,
      Array.from({ length: width }, () => 1),
    );
  }

  #slice(node: GraphNode & { op: "slice" }, x: string): string {
    const m = this.#m;
    const { groups, from, width } = node;
    const part = width / groups;
    const whole = (this.#graph.nodes[node.x]?.width ?? 0) / groups;
    const parts = groups === 1 ? x : m.node("Reshape", [x, m.ints(-1, groups, whole)]);
    const axis = m.ints(groups === 1 ? 1 : 2);
    const cut = m.node("Slice", [parts, m.ints(from), m.ints(from + part), axis]);
    return groups === 1 ? cut : this.#flatten(cut, width);
  }

  #rope(node: GraphNode & { op: "rope" }): string {
    const m = this.#m;
    const rotary = node.frequencies.length * 2;
    const angles = this.#once(`angles_${node.frequencies.join("_")}`, () => {
      const positions = m.node("Unsqueeze", [
        m.node("Cast", [this.#positions()], { to: { int: ONNX_TYPES.float32 } }),
        m.ints(1),
      ]);
      return m.node("Mul", [positions, m.floats(`frequencies_${this.#shared.size}`, node.frequencies)]);
    });
    const [cos, sin] = (["Cos", "Sin"] as const).map((name) =>
      this.#once(`${name}_${angles}_${node.amplitude}`, () => {
        const wave = m.node(name, [angles]);
        if (node.amplitude === 1) return wave;
        return m.node("Mul", [wave, m.floats(`amplitude_${node.amplitude}`, [node.amplitude])]);
      }),
    );
    const x = this.#batched(this.#values[node.x] ?? "", node.width);
    const isPartial = rotary < node.width / node.heads;
    const turned = m.node(
      "RotaryEmbedding",
      [x, m.ints(0), cos ?? "", sin ?? ""],
      {
        num_heads: { int: node.heads },
        interleaved: { int: 0 },
        ...(isPartial ? { rotary_embedding_dim: { int: rotary } } : {}),
      },
      { domain: MICROSOFT },
    );
    return this.#flatten(turned, node.width);
  }

  #attention(node: GraphNode & { op: "attention" }): string {
    const m = this.#m;
    const headWidth = node.width / node.heads;
    const kvWidth = headWidth * node.kvHeads;
    // Every row is treated as full: what lies after a sample's end is never seen from before it.
    const total = this.#once("total", () =>
      m.node("Cast", [m.node("Squeeze", [this.#length, m.ints(0)])], { to: { int: ONNX_TYPES.int32 } }),
    );
    const lengths = this.#once("lengths", () => {
      const last = m.node("Sub", [this.#length, m.ints(1)]);
      return m.node("Cast", [m.node("Expand", [last, this.#samples])], { to: { int: ONNX_TYPES.int32 } });
    });
    const [q, k, v] = [node.q, node.k, node.v].map((id, i) =>
      this.#batched(this.#values[id] ?? "", i === 0 ? node.width : kvWidth),
    );
    const window: Attributes = node.window === null ? {} : { local_window_size: { int: node.window } };
    const softcap: Attributes = node.softcap === null ? {} : { softcap: { float: node.softcap } };
    if (headWidth % 8 !== 0) {
      // GroupQueryAttention, the faster one, refuses such heads.
      const mask = node.window === null ? [] : [this.#windowMask(node.window)];
      return this.#flatten(
        m.node("Attention", [q ?? "", k ?? "", v ?? "", ...mask], {
          q_num_heads: { int: node.heads },
          kv_num_heads: { int: node.kvHeads },
          is_causal: { int: 1 },
          scale: { float: node.scale },
          ...softcap,
        }),
        node.width,
      );
    }
    const out = m.node(
      "GroupQueryAttention",
      [q ?? "", k ?? "", v ?? "", "", "", lengths, total],
      {
        num_heads: { int: node.heads },
        kv_num_heads: { int: node.kvHeads },
        scale: { float: node.scale },
        ...window,
        ...softcap,
      },
      { domain: MICROSOFT, outputs: 3 },
    );
    return this.#flatten(out, node.width);
  }

  /** bool [length, length]: whether the column's position lies within the window that ends at the row's. */
  #windowMask(window: number): string {
    const m = this.#m;
    return this.#once(`window_${window}`, () => {
      const positions = this.#positions();
      const rows = m.node("Unsqueeze", [positions, m.ints(1)]);
      const distance = m.node("Sub", [rows, m.node("Unsqueeze", [positions, m.ints(0)])]);
      return m.node("Less", [distance, m.int(window)]);
    });
  }

  #activation(x: string, kind: "silu" | "gelu" | "gelu_tanh" | "relu"): string {
    const m = this.#m;
    switch (kind) {
      case "silu":
        return m.node("QuickGelu", [x], { alpha: { float: 1 } }, { domain: MICROSOFT });
      case "relu":
        return m.node("Relu", [x]);
      default:
        return m.node("Gelu", [x], { approximate: { text: kind === "gelu" ? "none" : "tanh" } });
    }
  }

  /** Mean: a product with weights that are 1/n at the rows wanted and 0 elsewhere. Max: weights are 0 and minus infinity, added. */
  #reduce(x: string, kind: "mean" | "max", width: number): string {
    const m = this.#m;
    this.#selection = kind;
    const rows = this.#batched(x, width);
    if (kind === "mean") {
      return this.#flatten(
        m.node("MatMul", [this.#input("weights", "float32", ["samples", 1, "length"]), rows]),
        width,
      );
    }
    const marked = m.node("Add", [rows, this.#input("weights", "float32", ["samples", "length", 1])]);
    return m.node("ReduceMax", [marked, m.ints(1)], { keepdims: { int: 0 } });
  }

  #output(node: GraphNode & { op: "tap" }, x: string): string {
    const rows = node.rows === "samples" ? "samples" : "selected";
    if (node.dtype === "bfloat16") {
      // The Node binding refuses bfloat16 outputs: the same bits leave as uint16.
      this.#m.node("BitCast", [x], { to: { int: ONNX_TYPES.uint16 } }, { out: node.name });
      this.#m.output(node.name, "uint16", [rows, node.width]);
    } else {
      this.#m.node("Identity", [x], {}, { out: node.name });
      this.#m.output(node.name, "float32", [rows, node.width]);
    }
    return node.name;
  }

  /** Rows of a table; 16-bit tables are gathered first and only those rows widened, so that the table stays mapped. */
  #gather(name: string, indices: string): string {
    const tensor = this.#find(name);
    const rows = this.#m.node("Gather", [this.#external(tensor), indices], { axis: { int: 0 } });
    return tensor.dtype === "float32"
      ? rows
      : this.#m.node("Cast", [rows], { to: { int: ONNX_TYPES.float32 } });
  }

  /** A parameter in float32; the widening of a 16-bit one is folded when the session is created. */
  #weight(name: string): string {
    const tensor = this.#find(name);
    const stored = this.#external(tensor);
    if (tensor.dtype === "float32") return stored;
    return this.#once(`widened_${name}`, () =>
      this.#m.node("Cast", [stored], { to: { int: ONNX_TYPES.float32 } }),
    );
  }

  /**
   * A linear layer's matrix. Mapped, it is reshaped to its own shape, which is computed from the layer's input: so it is no
   * constant to be widened and packed at load, and is widened when its layer's turn comes and not before.
   */
  #matrix(name: string, x: string): string {
    if (this.#placement === "packed") return this.#weight(name);
    const m = this.#m;
    const tensor = this.#find(name);
    const rows = m.node("Slice", [m.node("Shape", [x]), m.ints(0), m.ints(1)]);
    const shape = m.node("Add", [m.ints(...tensor.shape), m.node("Mul", [rows, m.ints(0)])]);
    const stored = m.node("Reshape", [this.#external(tensor), shape]);
    if (tensor.dtype === "float32") return stored;
    return m.node("Cast", [stored], { to: { int: ONNX_TYPES.float32 } });
  }

  /** Locations are relative to the root: a checkpoint's files and what is made from them lie in several folders. */
  #external(tensor: StoredTensor): string {
    const { root } = parse(tensor.file);
    this.#folder ??= root;
    if (root !== this.#folder) {
      throw new SluiceError(
        "config",
        "the checkpoint's files lie on several drives, which ONNX Runtime does not map",
        { found: `${this.#folder} and ${root}`, fix: "Put them on one drive." },
      );
    }
    return this.#m.external(tensor.name, tensor.dtype, tensor.shape, {
      file: relative(root, tensor.file),
      offset: tensor.offset,
      length: tensor.length,
    });
  }

  #find(name: string): StoredTensor {
    const tensor = this.#weights.find(name);
    if (!tensor) throw new SluiceError("bug", `the graph uses ${name}, which the checkpoint does not have`);
    return tensor;
  }

  /** int64 [length]: 0, 1, 2 ... */
  #positions(): string {
    const m = this.#m;
    return this.#once("positions", () =>
      m.node("Range", [m.int(0), m.node("Squeeze", [this.#length, m.ints(0)]), m.int(1)]),
    );
  }

  #batched(x: string, width: number): string {
    return this.#m.node("Reshape", [
      x,
      this.#once(`batched_${width}`, () => this.#shape(this.#samples, this.#length, this.#m.ints(width))),
    ]);
  }

  #flatten(x: string, width: number): string {
    return this.#m.node("Reshape", [x, this.#m.ints(-1, width)]);
  }

  #shape(...parts: readonly string[]): string {
    return this.#m.node("Concat", parts, { axis: { int: 0 } });
  }

  #input(name: string, type: "int32" | "float32", shape: readonly (number | string)[]): string {
    return this.#once(`input_${name}`, () => this.#m.input(name, type, shape));
  }

  #once(key: string, make: () => string): string {
    const known = this.#shared.get(key);
    if (known !== undefined) return known;
    const made = make();
    this.#shared.set(key, made);
    return made;
  }
}
