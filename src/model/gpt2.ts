// GPT-2 (Radford et al. 2019): learned positions, LayerNorm with biases, an MLP of two layers, and linear layers whose
// weights are stored the other way round (Conv1D). transformers: models/gpt2/modeling_gpt2.py

import type { GraphBuilder } from "../graph/builder.js";
import type { ValueId } from "../graph/graph.js";
import type { ConfigReader } from "./config.js";
import type { Family, ModelShape } from "./family.js";

const ACTIVATIONS = {
  gelu_new: "gelu_tanh",
  gelu_pytorch_tanh: "gelu_tanh",
  gelu: "gelu",
  relu: "relu",
} as const;

interface Gpt2 {
  readonly layers: number;
  readonly width: number;
  readonly vocabulary: number;
  readonly maxPositions: number;
  readonly heads: number;
  readonly mlpWidth: number;
  readonly epsilon: number;
  readonly activation: keyof typeof ACTIVATIONS;
  readonly scale: number;
}

export const gpt2: Family = {
  name: "gpt2",
  architectures: ["GPT2LMHeadModel", "GPT2Model"],
  read(config: ConfigReader): ModelShape {
    const width = config.whole("n_embd", 768);
    const heads = config.whole("n_head", 12);
    const shape: Gpt2 = {
      layers: config.whole("n_layer", 12),
      width,
      vocabulary: config.whole("vocab_size", 50_257),
      maxPositions: config.whole("n_positions", 1024),
      heads,
      mlpWidth: config.raw("n_inner") == null ? 4 * width : config.whole("n_inner"),
      epsilon: config.positive("layer_norm_epsilon", 1e-5),
      activation: config.choice(
        "activation_function",
        ["gelu_new", "gelu_pytorch_tanh", "gelu", "relu"],
        "gelu_new",
      ),
      scale: config.flag("scale_attn_weights", true) ? 1 / Math.sqrt(width / heads) : 1,
    };
    config.only("scale_attn_by_inverse_layer_idx", false);
    config.only("add_cross_attention", false);
    return { ...shape, positionsAreLearned: true, build: (g) => buildDecoder(g, shape) };
  },
};

function buildDecoder(g: GraphBuilder, c: Gpt2): void {
  let x = g.add(
    g.embed("wte.weight", c.vocabulary, c.width),
    g.embedPositions("wpe.weight", c.maxPositions, c.width),
  );
  for (let l = 0; l < c.layers && !g.isDone; l++) {
    const hook = (name: string) => `blocks.${l}.hook_${name}`;
    g.tap(hook("resid_pre"), x);
    const attn = attention(g, c, layerNorm(g, c, x, `h.${l}.ln_1`), `h.${l}.attn`);
    x = g.tap(hook("resid_mid"), g.add(x, g.tap(hook("attn_out"), attn)));
    const hidden = g.activation(
      conv1d(g, layerNorm(g, c, x, `h.${l}.ln_2`), `h.${l}.mlp.c_fc`, c.mlpWidth),
      ACTIVATIONS[c.activation],
    );
    const mlp = conv1d(g, hidden, `h.${l}.mlp.c_proj`, c.width);
    x = g.tap(hook("resid_post"), g.add(x, g.tap(hook("mlp_out"), mlp)));
  }
}

function attention(g: GraphBuilder, c: Gpt2, x: ValueId, at: string): ValueId {
  const [q, k, v] = g.split(conv1d(g, x, `${at}.c_attn`, 3 * c.width), 3);
  return conv1d(
    g,
    g.attention(q, k, v, { heads: c.heads, kvHeads: c.heads, scale: c.scale }),
    `${at}.c_proj`,
    c.width,
  );
}

function layerNorm(g: GraphBuilder, c: Gpt2, x: ValueId, at: string): ValueId {
  return g.layerNorm(x, `${at}.weight`, `${at}.bias`, c.epsilon);
}

function conv1d(g: GraphBuilder, x: ValueId, at: string, out: number): ValueId {
  return g.linear(x, `${at}.weight`, out, { bias: `${at}.bias`, inputMajor: true });
}
