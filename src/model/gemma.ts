// Gemma (Gemma Team 2024): Llama's decoder with norm weights as distances from 1 and embeddings times sqrt(width).
// transformers: models/gemma/modeling_gemma.py

import { readActivation, rmsNorm } from "./decoder.js";
import type { Family } from "./family.js";
import { attention, gatedDecoder, gatedMlp, preNormBlock, readGatedDecoder } from "./gated-decoder.js";
import { readRope } from "./rope.js";

export const gemma: Family = {
  name: "gemma",
  architectures: ["GemmaForCausalLM", "GemmaModel"],
  read(config) {
    const c = readGatedDecoder(config, {
      layers: 28,
      width: 3072,
      vocabulary: 256_000,
      maxPositions: 8192,
      heads: 16,
      kvHeads: 16,
      headWidth: 256,
      mlpWidth: 24_576,
      epsilon: 1e-6,
    });
    const hasBias = config.flag("attention_bias", false);
    const heads = { ...c, rope: readRope(config, c.headWidth), qkvBias: hasBias, outBias: hasBias };
    // The releases say gelu and mean its approximation by tanh.
    const named = readActivation(config, "hidden_act", "gelu_pytorch_tanh");
    config.only("hidden_activation", "gelu_pytorch_tanh");
    config.only("use_bidirectional_attention", false);
    const mlp = { ...c, activation: named === "gelu" ? "gelu_tanh" : named };
    const norm = rmsNorm(c.epsilon, 1);
    return gatedDecoder(c, {
      norm,
      embedScale: Math.sqrt(c.width),
      block: preNormBlock(
        norm,
        (b, x) => attention(b, x, heads),
        (b, x) => gatedMlp(b, x, mlp),
      ),
    });
  },
};
