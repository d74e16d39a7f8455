// Mistral (Jiang et al. 2023): Llama's decoder, in which a token sees a window of tokens before it.
// transformers: models/mistral/modeling_mistral.py

import { readActivation, rmsNorm } from "./decoder.js";
import type { Family } from "./family.js";
import { attention, gatedDecoder, gatedMlp, preNormBlock, readGatedDecoder } from "./gated-decoder.js";
import { readWindow } from "./layer-types.js";
import { readRope } from "./rope.js";

export const mistral: Family = {
  name: "mistral",
  architectures: ["MistralForCausalLM", "MistralModel"],
  read(config) {
    const c = readGatedDecoder(config, {
      layers: 32,
      width: 4096,
      vocabulary: 32_000,
      maxPositions: 131_072,
      heads: 32,
      kvHeads: 8,
      headWidth: null,
      mlpWidth: 14_336,
      epsilon: 1e-6,
    });
    const heads = { ...c, rope: readRope(config, c.headWidth), window: readWindow(config, 4096) };
    const mlp = { ...c, activation: readActivation(config, "hidden_act", "silu") };
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
