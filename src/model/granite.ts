// Granite 3 (IBM 2024): Llama's decoder, in which embeddings, scores and all that is added to the residual stream are
// multiplied by constants. transformers: models/granite/modeling_granite.py

import { readActivation, rmsNorm } from "./decoder.js";
import type { Family } from "./family.js";
import {
  attention,
  gatedDecoder,
  gatedMlp,
  LLAMA_MODULES,
  preNormBlock,
  readGatedDecoder,
} from "./gated-decoder.js";
import type { ModulePaths } from "./parse-hooks.js";
import { readRope } from "./rope.js";

export const granite: Family = {
  name: "granite",
  architectures: ["GraniteForCausalLM", "GraniteModel"],
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
    const heads = {
      ...c,
      rope: readRope(config, c.headWidth),
      scale: config.positive("attention_multiplier", 1),
      qkvBias: hasBias,
      outBias: hasBias,
    };
    const mlp = {
      ...c,
      activation: readActivation(config, "hidden_act", "silu"),
      mlpBias: config.flag("mlp_bias", false),
    };
    const added = config.positive("residual_multiplier", 1);
    config.raw("logits_scaling"); // Of the logits alone.
    const norm = rmsNorm(c.epsilon);
    return gatedDecoder(c, {
      norm,
      embedScale: config.positive("embedding_multiplier", 1),
      modules: MODULES,
      block: preNormBlock(
        norm,
        (b, x) => b.g.scale(attention(b, x, heads), added),
        (b, x) => b.g.scale(gatedMlp(b, x, mlp), added),
      ),
    });
  },
};

const BEFORE_MULTIPLIER = {
  refuse: "the module's output is before the multiplier, and what the residual stream gets is after it",
} as const;

const MODULES: ModulePaths = {
  ...LLAMA_MODULES,
  "model.embed_tokens": BEFORE_MULTIPLIER,
  "model.layers.N.self_attn": BEFORE_MULTIPLIER,
  "model.layers.N.self_attn.o_proj": BEFORE_MULTIPLIER,
  "model.layers.N.mlp": BEFORE_MULTIPLIER,
  "model.layers.N.mlp.down_proj": BEFORE_MULTIPLIER,
};
