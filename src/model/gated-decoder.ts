// The parts that Llama made common, and the fields that describe them: attention with separate q, k and v and grouped
// key-value heads, a gated MLP, rotary positions. Families that are built from them put them together themselves.

import type { ValueId } from "../graph/graph.js";
import { activateGated, attend, type Block, type Heads } from "./block.js";
import type { ConfigReader } from "./config.js";
import { buildDecoder, embedTokens, type Norm, type readActivation } from "./decoder.js";
import type { ModelShape } from "./family.js";
import type { ModulePaths } from "./parse-hooks.js";

/** The numbers of such a decoder. Widths in features. */
export interface GatedDecoder {
  readonly layers: number;
  readonly width: number;
  readonly vocabulary: number;
  readonly maxPositions: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headWidth: number;
  readonly mlpWidth: number;
  readonly epsilon: number;
}

/** transformers' own defaults of a family, for configs that leave fields out. */
export interface GatedDefaults extends Omit<GatedDecoder, "headWidth" | "kvHeads"> {
  /** Null where it is the number of heads. */
  readonly kvHeads: number | null;
  /** Null where it is width / heads. */
  readonly headWidth: number | null;
  /** The field that names epsilon; `rms_norm_eps` unless given. */
  readonly epsilonField?: string;
}

/** Reads the numbers. @throws SluiceError `config`. */
export function readGatedDecoder(config: ConfigReader, d: GatedDefaults): GatedDecoder {
  const width = config.whole("hidden_size", d.width);
  const heads = config.whole("num_attention_heads", d.heads);
  return {
    layers: config.whole("num_hidden_layers", d.layers),
    width,
    vocabulary: config.whole("vocab_size", d.vocabulary),
    maxPositions: config.whole("max_position_embeddings", d.maxPositions),
    heads,
    kvHeads: config.whole("num_key_value_heads", d.kvHeads ?? heads),
    headWidth: config.whole("head_dim", d.headWidth ?? width / heads),
    mlpWidth: config.whole("intermediate_size", d.mlpWidth),
    epsilon: config.positive(d.epsilonField ?? "rms_norm_eps", d.epsilon),
  };
}

/** The model of such a family. @param block from the stream before a block to the stream after it. */
export function gatedDecoder(
  c: GatedDecoder,
  parts: {
    readonly norm: Norm;
    readonly block: Part;
    readonly modules?: ModulePaths;
    /** What embeddings are multiplied by. */
    readonly embedScale?: number;
    readonly finalNorm?: string;
  },
): ModelShape {
  const { norm, block, modules = LLAMA_MODULES, embedScale, finalNorm = "norm" } = parts;
  const { layers, width, vocabulary, maxPositions } = c;
  return {
    layers,
    width,
    vocabulary,
    maxPositions,
    positionsAreLearned: false,
    modules,
    build: (g) =>
      buildDecoder(g, {
        layers,
        blocks: "layers",
        embed: () => embedTokens(g, "embed_tokens.weight", c, embedScale),
        block,
        norm,
        finalNorm,
      }),
  };
}

/** Half a block: from what it reads to what its last layer gives. */
type Part = (b: Block, x: ValueId) => ValueId;

/** A block that normalises what attention and MLP read, and adds what they give. */
export function preNormBlock(norm: Norm, attn: Part, mlp: Part): Part {
  return (b, x) => {
    const mid = b.addAttention(x, attn(b, norm(b.g, x, b.name("input_layernorm"))));
    return b.addMlp(mid, mlp(b, norm(b.g, mid, b.name("post_attention_layernorm"))));
  };
}

/** The q-k norm on each head, with one weight of a head's width for all of them. */
export function normaliseHeads(
  b: Block,
  epsilon: number,
  offset: 0 | 1 = 0,
): NonNullable<Heads["normalise"]> {
  return (x, of, groups) =>
    b.g.rmsNorm(x, b.name(`self_attn.${of}_norm.weight`), epsilon, { offset, groups });
}

/** Attention at `self_attn`, the output projection included. */
export function attention(
  b: Block,
  x: ValueId,
  c: Heads & {
    readonly width: number;
    readonly qkvBias?: boolean;
    readonly outBias?: boolean;
    readonly outLayer?: string;
  },
): ValueId {
  const project = (name: string, heads: number) =>
    b.linear(x, `self_attn.${name}`, heads * c.headWidth, c.qkvBias);
  const z = attend(
    b,
    project("q_proj", c.heads),
    project("k_proj", c.kvHeads),
    project("v_proj", c.kvHeads),
    c,
  );
  return b.linear(z, `self_attn.${c.outLayer ?? "o_proj"}`, c.width, c.outBias);
}

/** The gated MLP at `mlp`. */
export function gatedMlp(
  b: Block,
  x: ValueId,
  c: {
    readonly width: number;
    readonly mlpWidth: number;
    readonly activation: ReturnType<typeof readActivation>;
    readonly mlpBias?: boolean;
  },
): ValueId {
  const gate = b.linear(x, "mlp.gate_proj", c.mlpWidth, c.mlpBias);
  const up = b.linear(x, "mlp.up_proj", c.mlpWidth, c.mlpBias);
  return b.linear(activateGated(b, gate, up, c.activation), "mlp.down_proj", c.width, c.mlpBias);
}

/** What Hugging Face's modules give up to the projections of attention, in these families and some others. */
export const PROJECTION_MODULES: ModulePaths = {
  "model.embed_tokens": "embed",
  "model.layers.N": "resid_post",
  "model.layers.N.self_attn": "attn_out",
  "model.layers.N.self_attn.q_proj": "q",
  "model.layers.N.self_attn.k_proj": "k",
  "model.layers.N.self_attn.v_proj": "v",
};

/** What Hugging Face's modules give in these families. */
export const LLAMA_MODULES: ModulePaths = {
  ...PROJECTION_MODULES,
  "model.layers.N.self_attn.o_proj": "attn_out",
  "model.layers.N.mlp": "mlp_out",
  "model.layers.N.mlp.gate_proj": "mlp_pre",
  "model.layers.N.mlp.up_proj": "mlp_pre_linear",
  "model.layers.N.mlp.down_proj": "mlp_out",
  "model.norm": "ln_final",
};

const BEFORE_POST_NORM = {
  refuse: "the module's output is before the post-norm, and what is added to the residual stream is after it",
} as const;

/** The same where the outputs of attention and MLP are normalised before they are added. */
export const POST_NORM_MODULES: ModulePaths = {
  ...LLAMA_MODULES,
  "model.layers.N.self_attn": BEFORE_POST_NORM,
  "model.layers.N.self_attn.o_proj": BEFORE_POST_NORM,
  "model.layers.N.mlp": BEFORE_POST_NORM,
  "model.layers.N.mlp.down_proj": BEFORE_POST_NORM,
  "model.layers.N.post_attention_layernorm": "attn_out",
  "model.layers.N.post_feedforward_layernorm": "mlp_out",
};
