// What the hook points mean, as arithmetic between them (docs/hooks.md), computed again here from the checkpoint's own
// parameters: rot_q and rot_k from q and k, z from those and v, attn_out from z, mlp_out from mlp_post, ln_final from
// ln_final_normalized.

import type { Graph, GraphNode } from "../graph/graph.js";
import type { RawConfig } from "../model/config.js";
import { HOOKS, hookName } from "../model/hooks.js";
import type { Checkpoint } from "../model/model.js";
import { readParameter } from "./reference.js";

/** One identity: what a hook point has to be, given others. */
export interface Identity {
  readonly name: string;
  readonly found: Float32Array;
  readonly expected: Float32Array;
}

/** A parameter of a block by the first of the names that the families use. */
const OUTPUT_LAYERS = {
  attn_out: {
    from: "z",
    modules: [
      "self_attn.o_proj",
      "attn.c_proj",
      "attn.attention.out_proj",
      "attention.dense",
      "self_attn.dense",
    ],
    norm: "attention",
  },
  mlp_out: {
    from: "mlp_post",
    modules: ["mlp.down_proj", "mlp.c_proj", "mlp.dense_4h_to_h", "mlp.fc2"],
    norm: "feedforward",
  },
} as const;

/** The identities of every block, and of the final norm. @param values of all hook points, for samples one after the other. */
export function identitiesOf(
  checkpoint: Checkpoint,
  graph: Graph,
  values: ReadonlyMap<string, Float32Array>,
  positions: readonly number[],
): Identity[] {
  const get = (name: string) => {
    const value = values.get(name);
    if (!value) throw new Error(`no ${name}`);
    return value;
  };
  const model = new Recomputed(checkpoint, positions.length);
  const identities: Identity[] = [];
  for (let layer = 0; layer < checkpoint.shape.layers; layer++) {
    for (const out of ["attn_out", "mlp_out"] as const) {
      const name = hookName(out, layer);
      const read = get(hookName(OUTPUT_LAYERS[out].from, layer));
      identities.push({ name, found: get(name), expected: model.outputOf(out, layer, read) });
    }
    for (const of of ["q", "k"] as const) {
      const name = hookName(`rot_${of}`, layer);
      if (!values.has(name)) continue;
      const node = sourceOf(graph, name);
      const projected = get(hookName(of, layer));
      // A layer without positions, of a model whose others are rotary, turns nothing.
      const expected =
        node?.op === "rope"
          ? turn(model.normaliseHeads(of, layer, projected, node.heads), node, positions)
          : projected;
      identities.push({ name, found: get(name), expected });
    }
    const z = hookName("z", layer);
    const node = sourceOf(graph, z);
    if (node?.op !== "attention") throw new Error(`${z} is not what attention gives`);
    const [q, k] = (["q", "k"] as const).map(
      (of) => values.get(hookName(`rot_${of}`, layer)) ?? get(hookName(of, layer)),
    );
    const expected = attend(
      q ?? new Float32Array(),
      k ?? new Float32Array(),
      get(hookName("v", layer)),
      node,
    );
    identities.push({ name: z, found: get(z), expected });
  }
  const final = HOOKS.ln_final.path;
  const expected = model.finalNorm(get(HOOKS.ln_final_normalized.path));
  identities.push({ name: final, found: get(final), expected });
  return identities;
}

/** Layers of a checkpoint, applied to rows in plain loops. */
class Recomputed {
  readonly #checkpoint: Checkpoint;
  readonly #rows: number;

  constructor(checkpoint: Checkpoint, rows: number) {
    this.#checkpoint = checkpoint;
    this.#rows = rows;
  }

  outputOf(out: keyof typeof OUTPUT_LAYERS, layer: number, read: Float32Array): Float32Array {
    const { modules, norm } = OUTPUT_LAYERS[out];
    const { family, config } = this.#checkpoint;
    const module = modules.map((m) => this.#block(layer, m)).find((m) => this.#has(`${m}.weight`));
    const weight = this.#parameter(`${module}.weight`);
    const bias = this.#has(`${module}.bias`) ? this.#parameter(`${module}.bias`) : null;
    const width = read.length / this.#rows;
    const isInputMajor = family === "gpt2";
    const outWidth = weight.length / width;
    const given = new Float32Array(this.#rows * outWidth);
    for (let r = 0; r < this.#rows; r++) {
      for (let o = 0; o < outWidth; o++) {
        let sum = bias?.[o] ?? 0;
        for (let i = 0; i < width; i++)
          sum += (read[r * width + i] ?? 0) * (weight[isInputMajor ? i * outWidth + o : o * width + i] ?? 0);
        given[r * outWidth + o] = sum;
      }
    }
    if (["gemma2", "gemma3", "olmo2", "olmo3"].includes(family))
      return this.#rmsNorm(given, this.#block(layer, `post_${norm}_layernorm`), outWidth);
    const multiplier = typeof config.residual_multiplier === "number" ? config.residual_multiplier : 1;
    return given.map((v) => v * multiplier);
  }

  normaliseHeads(of: "q" | "k", layer: number, x: Float32Array, heads: number): Float32Array {
    const at = this.#block(layer, `self_attn.${of}_norm`);
    if (!this.#has(`${at}.weight`)) return x;
    const width = x.length / this.#rows;
    return this.#rmsNorm(x, at, this.#checkpoint.family.startsWith("olmo") ? width : width / heads);
  }

  finalNorm(normalised: Float32Array): Float32Array {
    const at = ["norm", "ln_f", "final_layer_norm", "final_layernorm"].find((name) =>
      this.#has(`${name}.weight`),
    );
    const weight = this.#parameter(`${at}.weight`);
    const bias = this.#has(`${at}.bias`) ? this.#parameter(`${at}.bias`) : null;
    const offset = this.#offset();
    return normalised.map((v, i) => {
      const column = i % weight.length;
      return v * (offset + (weight[column] ?? 0)) + (bias?.[column] ?? 0);
    });
  }

  #rmsNorm(x: Float32Array, at: string, width: number): Float32Array {
    const weight = this.#parameter(`${at}.weight`);
    const { config } = this.#checkpoint;
    const epsilon = Number(
      (config.text_config as RawConfig | undefined)?.rms_norm_eps ?? config.rms_norm_eps,
    );
    const y = new Float32Array(x.length);
    for (let start = 0; start < x.length; start += width) {
      const row = x.subarray(start, start + width);
      const root = Math.sqrt(row.reduce((sum, v) => sum + v * v, 0) / width + epsilon);
      for (const [i, v] of row.entries()) y[start + i] = (v / root) * (this.#offset() + (weight[i] ?? 0));
    }
    return y;
  }

  #offset(): 0 | 1 {
    return this.#checkpoint.family.startsWith("gemma") ? 1 : 0;
  }

  #block(layer: number, module: string): string {
    return `${["gpt2", "gpt_neo"].includes(this.#checkpoint.family) ? "h" : "layers"}.${layer}.${module}`;
  }

  #has(name: string): boolean {
    return this.#checkpoint.weights.find(name) !== undefined;
  }

  #parameter(name: string): Float64Array {
    return readParameter(this.#checkpoint.weights, name);
  }
}

/** The node whose selected rows are a tap. */
function sourceOf(graph: Graph, tap: string): GraphNode | undefined {
  const output = graph.nodes.find((node) => node.op === "tap" && node.name === tap);
  const selected = output?.op === "tap" ? graph.nodes[output.x] : undefined;
  return selected?.op === "selectRows" ? graph.nodes[selected.x] : undefined;
}

/** The pattern as docs/hooks.md says it follows from queries and keys, times the values; of one sample. */
function attend(
  q: Float32Array,
  k: Float32Array,
  v: Float32Array,
  node: GraphNode & { op: "attention" },
): Float32Array {
  const { width, heads, kvHeads, scale, window, softcap } = node;
  const d = width / heads;
  const dot = (i: number, j: number, h: number, kv: number) => {
    let sum = 0;
    for (let e = 0; e < d; e++) sum += (q[i * width + h * d + e] ?? 0) * (k[(j * kvHeads + kv) * d + e] ?? 0);
    return sum * scale;
  };
  return q.map((_, at) => {
    const [i, h, e] = [Math.floor(at / width), Math.floor((at % width) / d), at % d];
    const kv = Math.floor((h * kvHeads) / heads);
    let total = 0;
    let mixed = 0;
    for (let j = Math.max(0, i - (window ?? i + 1) + 1); j <= i; j++) {
      const score = dot(i, j, h, kv);
      const weight = Math.exp(softcap === null ? score : softcap * Math.tanh(score / softcap));
      total += weight;
      mixed += weight * (v[(j * kvHeads + kv) * d + e] ?? 0);
    }
    return mixed / total;
  });
}

/** Each pair (i, i + n/2) of the turned part of a head as a complex number, times e^(i angle). */
function turn(x: Float32Array, node: GraphNode & { op: "rope" }, positions: readonly number[]): Float32Array {
  const width = x.length / positions.length;
  const headWidth = width / node.heads;
  const half = node.frequencies.length;
  return x.map((v, i) => {
    const element = (i % width) % headWidth;
    if (element >= 2 * half) return v;
    const angle = (positions[Math.floor(i / width)] ?? 0) * (node.frequencies[element % half] ?? 0);
    const turned =
      element < half
        ? v * Math.cos(angle) - (x[i + half] ?? 0) * Math.sin(angle)
        : v * Math.cos(angle) + (x[i - half] ?? 0) * Math.sin(angle);
    return turned * node.amplitude;
  });
}
