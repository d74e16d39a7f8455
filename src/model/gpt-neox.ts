// GPT-NeoX (Black et al. 2022) and Pythia: LayerNorm with biases, attention and MLP side by side (or one after the other),
// rotary positions on a part of each head, and q, k and v in one linear layer, head by head.
// transformers: models/gpt_neox/modeling_gpt_neox.py

import type { ValueId } from "../graph/graph.js";
import { attend, type Block, type Heads, twoLayerMlp } from "./block.js";
import { buildDecoder, embedTokens, layerNorm, readActivation } from "./decoder.js";
import type { Family } from "./family.js";
import type { ModulePaths } from "./parse-hooks.js";
import { readRope } from "./rope.js";

export const gptNeox: Family = {
  name: "gpt_neox",
  architectures: ["GPTNeoXForCausalLM", "GPTNeoXModel"],
  read(config) {
    const width = config.whole("hidden_size", 6144);
    const heads = config.whole("num_attention_heads", 64);
    const headWidth = width / heads;
    const c = {
      layers: config.whole("num_hidden_layers", 44),
      width,
      vocabulary: config.whole("vocab_size", 50_432),
      maxPositions: config.whole("max_position_embeddings", 2048),
      heads,
      kvHeads: heads,
      headWidth,
      rope: readRope(config, headWidth, {
        baseField: "rotary_emb_base",
        shareField: "rotary_pct",
        share: 0.25,
      }),
      hasBias: config.flag("attention_bias", true),
      mlpWidth: config.whole("intermediate_size", 24_576),
      activation: readActivation(config, "hidden_act", "gelu"),
    };
    const isParallel = config.flag("use_parallel_residual", true);
    const norm = layerNorm(config.positive("layer_norm_eps", 1e-5));
    return {
      ...c,
      positionsAreLearned: false,
      modules: MODULES,
      build: (g) =>
        buildDecoder(g, {
          layers: c.layers,
          blocks: "layers",
          embed: () => embedTokens(g, "embed_in.weight", c),
          block(b, x) {
            const attn = attention(b, norm(g, x, b.name("input_layernorm")), c);
            const readsMlp = (stream: ValueId) =>
              twoLayerMlp(b, norm(g, stream, b.name("post_attention_layernorm")), MLP, c);
            if (isParallel) return b.addBoth(x, attn, readsMlp(x));
            const mid = b.addAttention(x, attn);
            return b.addMlp(mid, readsMlp(mid));
          },
          norm,
          finalNorm: "final_layer_norm",
        }),
    };
  },
};

function attention(b: Block, x: ValueId, c: Heads & { width: number; hasBias: boolean }): ValueId {
  const { width, heads, hasBias } = c;
  const qkv = b.linear(x, "attention.query_key_value", 3 * width, hasBias);
  const [q, k, v] = b.g.split(qkv, [width, width, width], heads);
  return b.linear(attend(b, q, k, v, c), "attention.dense", width, hasBias);
}

const MLP = ["mlp.dense_h_to_4h", "mlp.dense_4h_to_h"] as const;

const MODULES: ModulePaths = {
  "gpt_neox.embed_in": "embed",
  "gpt_neox.layers.N": "resid_post",
  "gpt_neox.layers.N.attention": "attn_out",
  "gpt_neox.layers.N.attention.dense": "attn_out",
  "gpt_neox.layers.N.attention.query_key_value": { refuse: "its output holds q, k and v: name those" },
  "gpt_neox.layers.N.mlp": "mlp_out",
  "gpt_neox.layers.N.mlp.dense_h_to_4h": "mlp_pre",
  "gpt_neox.layers.N.mlp.dense_4h_to_h": "mlp_out",
  "gpt_neox.final_layer_norm": "ln_final",
};
