// GPT-2 (Radford et al. 2019): learned positions, LayerNorm with biases, an MLP of two layers, and linear layers whose
// weights are stored the other way round (Conv1D). transformers: models/gpt2/modeling_gpt2.py

import type { ActivationKind, ValueId } from "../graph/graph.js";
import { activate, attend, type Block } from "./block.js";
import { buildDecoder, embedPositions, embedTokens, layerNorm, readActivation } from "./decoder.js";
import type { Family } from "./family.js";
import type { ModulePaths } from "./parse-hooks.js";

export const gpt2: Family = {
  name: "gpt2",
  architectures: ["GPT2LMHeadModel", "GPT2Model"],
  read(config) {
    const width = config.whole("n_embd", 768);
    const heads = config.whole("n_head", 12);
    const headWidth = width / heads;
    const c = {
      layers: config.whole("n_layer", 12),
      width,
      vocabulary: config.whole("vocab_size", 50_257),
      maxPositions: config.whole("n_positions", 1024),
      heads,
      headWidth,
      mlpWidth: config.whole("n_inner", 4 * width),
      activation: readActivation(config, "activation_function", "gelu_new"),
      scale: config.flag("scale_attn_weights", true) ? 1 / Math.sqrt(headWidth) : 1,
    };
    config.only("scale_attn_by_inverse_layer_idx", false);
    config.only("add_cross_attention", false);
    const norm = layerNorm(config.positive("layer_norm_epsilon", 1e-5));
    return {
      ...c,
      positionsAreLearned: true,
      modules: MODULES,
      build: (g) =>
        buildDecoder(g, {
          layers: c.layers,
          blocks: "h",
          embed: () => g.add(embedTokens(g, "wte.weight", c), embedPositions(g, "wpe.weight", c)),
          block(b, x) {
            const mid = b.addAttention(x, attention(b, norm(g, x, b.name("ln_1")), c));
            return b.addMlp(mid, mlp(b, norm(g, mid, b.name("ln_2")), c));
          },
          norm,
          finalNorm: "ln_f",
        }),
    };
  },
};

function attention(
  b: Block,
  x: ValueId,
  c: { width: number; heads: number; headWidth: number; scale: number },
): ValueId {
  const { width, heads } = c;
  const [q, k, v] = b.g.split(conv1d(b, x, "attn.c_attn", 3 * width), [width, width, width]);
  return conv1d(b, attend(b, q, k, v, { ...c, kvHeads: heads, rope: null }), "attn.c_proj", width);
}

function mlp(
  b: Block,
  x: ValueId,
  c: { width: number; mlpWidth: number; activation: ActivationKind },
): ValueId {
  return conv1d(b, activate(b, conv1d(b, x, "mlp.c_fc", c.mlpWidth), c.activation), "mlp.c_proj", c.width);
}

function conv1d(b: Block, x: ValueId, path: string, out: number): ValueId {
  const at = b.name(path);
  return b.g.linear(x, `${at}.weight`, out, { bias: `${at}.bias`, inputMajor: true });
}

const MODULES: ModulePaths = {
  "transformer.wte": "embed",
  "transformer.wpe": "pos_embed",
  "transformer.h.N": "resid_post",
  "transformer.h.N.attn": "attn_out",
  "transformer.h.N.attn.c_proj": "attn_out",
  "transformer.h.N.mlp": "mlp_out",
  "transformer.h.N.mlp.c_fc": "mlp_pre",
  "transformer.h.N.mlp.c_proj": "mlp_out",
  "transformer.ln_f": "ln_final",
};
