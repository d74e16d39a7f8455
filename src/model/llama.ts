// Llama (Touvron et al. 2023), Llama 3 (Grattafiori et al. 2024), and models built like it, such as SmolLM2.
// transformers: models/llama/modeling_llama.py

import { readActivation, rmsNorm } from "./decoder.js";
import type { Family } from "./family.js";
import { attention, gatedDecoder, gatedMlp, preNormBlock, readGatedDecoder } from "./gated-decoder.js";
import { readRope } from "./rope.js";

export const llama: Family = {
  name: "llama",
  architectures: ["LlamaForCausalLM", "LlamaModel"],
  read(config) {
    const c = readGatedDecoder(config, {
      layers: 32,
      width: 4096,
      vocabulary: 32_000,
      maxPositions: 2048,
      heads: 32,
      kvHeads: null,
      headWidth: null,
      mlpWidth: 11_008,
      epsilon: 1e-6,
    });
    const hasBias = config.flag("attention_bias", false);
    const heads = { ...c, rope: readRope(config, c.headWidth), qkvBias: hasBias, outBias: hasBias };
    const mlp = {
      ...c,
      activation: readActivation(config, "hidden_act", "silu"),
      mlpBias: config.flag("mlp_bias", false),
    };
    config.only("rope_interleaved", false);
    const norm = rmsNorm(c.epsilon);
    return gatedDecoder(c, {
      norm,
      block: preNormBlock(
        norm,
        (b, x) => attention(b, x, heads),
        (b, x) => gatedMlp(b, x, mlp),
      ),
    });
  },
};
