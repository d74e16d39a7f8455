// Llama (Touvron et al. 2023), Llama 3 (Grattafiori et al. 2024), and models built like it, such as SmolLM2.
// transformers: models/llama/modeling_llama.py

import type { ConfigReader } from "./config.js";
import type { Family, ModelShape } from "./family.js";
import { buildGatedDecoder } from "./gated-decoder.js";
import { ropeFrequencies } from "./rope.js";

export const llama: Family = {
  name: "llama",
  architectures: ["LlamaForCausalLM", "LlamaModel"],
  read(config: ConfigReader): ModelShape {
    const width = config.whole("hidden_size", 4096);
    const heads = config.whole("num_attention_heads", 32);
    const headWidth = config.whole("head_dim", width / heads);
    const shape = {
      layers: config.whole("num_hidden_layers", 32),
      width,
      vocabulary: config.whole("vocab_size", 32_000),
      maxPositions: config.whole("max_position_embeddings", 2048),
      positionsAreLearned: false,
      heads,
      kvHeads: config.whole("num_key_value_heads", heads),
      headWidth,
      mlpWidth: config.whole("intermediate_size", 11_008),
      epsilon: config.positive("rms_norm_eps", 1e-6),
      frequencies: ropeFrequencies(config, headWidth),
      activation: config.choice("hidden_act", ["silu"], "silu"),
      ...attentionBiases(config.flag("attention_bias", false)),
      mlpBias: config.flag("mlp_bias", false),
    } as const;
    config.only("rope_interleaved", false);
    return { ...shape, build: (g) => buildGatedDecoder(g, shape) };
  },
};

function attentionBiases(all: boolean) {
  return { qkvBias: all, outBias: all };
}
