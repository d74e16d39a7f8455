// Qwen3 (Yang et al. 2025): Llama's decoder with an RMSNorm on each head of q and k.
// transformers: models/qwen3/modeling_qwen3.py

import { readActivation, rmsNorm } from "./decoder.js";
import type { Family } from "./family.js";
import {
  attention,
  gatedDecoder,
  gatedMlp,
  normaliseHeads,
  preNormBlock,
  readGatedDecoder,
} from "./gated-decoder.js";
import { readQwenWindows } from "./layer-types.js";
import { readRope } from "./rope.js";

export const qwen3: Family = {
  name: "qwen3",
  architectures: ["Qwen3ForCausalLM", "Qwen3Model"],
  read(config) {
    const c = readGatedDecoder(config, {
      layers: 32,
      width: 4096,
      vocabulary: 151_936,
      maxPositions: 32_768,
      heads: 32,
      kvHeads: 32,
      headWidth: 128,
      mlpWidth: 22_016,
      epsilon: 1e-6,
    });
    const hasBias = config.flag("attention_bias", false);
    const heads = { ...c, rope: readRope(config, c.headWidth), qkvBias: hasBias, outBias: hasBias };
    const mlp = { ...c, activation: readActivation(config, "hidden_act", "silu") };
    const windows = readQwenWindows(config, c.layers);
    const norm = rmsNorm(c.epsilon);
    return gatedDecoder(c, {
      norm,
      block: preNormBlock(
        norm,
        (b, x) =>
          attention(b, x, { ...heads, window: windows[b.layer], normalise: normaliseHeads(b, c.epsilon) }),
        (b, x) => gatedMlp(b, x, mlp),
      ),
    });
  },
};
