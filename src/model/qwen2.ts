// Qwen2 and Qwen2.5 (Yang et al. 2024): Llama's decoder with biases on q, k and v.
// transformers: models/qwen2/modeling_qwen2.py

import type { ConfigReader } from "./config.js";
import type { Family, ModelShape } from "./family.js";
import { buildGatedDecoder } from "./gated-decoder.js";
import { ropeFrequencies } from "./rope.js";

export const qwen2: Family = {
  name: "qwen2",
  architectures: ["Qwen2ForCausalLM", "Qwen2Model"],
  read(config: ConfigReader): ModelShape {
    const width = config.whole("hidden_size", 4096);
    const heads = config.whole("num_attention_heads", 32);
    const headWidth = config.whole("head_dim", width / heads);
    const shape = {
      layers: config.whole("num_hidden_layers", 32),
      width,
      vocabulary: config.whole("vocab_size", 151_936),
      maxPositions: config.whole("max_position_embeddings", 32_768),
      positionsAreLearned: false,
      heads,
      kvHeads: config.whole("num_key_value_heads", 32),
      headWidth,
      mlpWidth: config.whole("intermediate_size", 22_016),
      epsilon: config.positive("rms_norm_eps", 1e-6),
      frequencies: ropeFrequencies(config, headWidth),
      activation: config.choice("hidden_act", ["silu"], "silu"),
      qkvBias: true,
      outBias: false,
      mlpBias: false,
    } as const;
    config.only("use_sliding_window", false);
    config.raw("sliding_window"); // Without effect unless use_sliding_window is true.
    const types = config.raw("layer_types");
    if (Array.isArray(types) && types.some((type) => type !== "full_attention"))
      throw config.refuse("layer_types", "full_attention alone");
    return { ...shape, build: (g) => buildGatedDecoder(g, shape) };
  },
};
