// Qwen2 and Qwen2.5 (Yang et al. 2024): Llama's decoder with biases on q, k and v.
// transformers: models/qwen2/modeling_qwen2.py

import { readActivation, rmsNorm } from "./decoder.js";
import type { Family } from "./family.js";
import { attention, gatedDecoder, gatedMlp, preNormBlock, readGatedDecoder } from "./gated-decoder.js";
import { readQwenWindows } from "./layer-types.js";
import { readRope } from "./rope.js";

export const qwen2: Family = {
  name: "qwen2",
  architectures: ["Qwen2ForCausalLM", "Qwen2Model"],
  read(config) {
    const c = readGatedDecoder(config, {
      layers: 32,
      width: 4096,
      vocabulary: 151_936,
      maxPositions: 32_768,
      heads: 32,
      kvHeads: 32,
      headWidth: null,
      mlpWidth: 22_016,
      epsilon: 1e-6,
    });
    const heads = { ...c, rope: readRope(config, c.headWidth), qkvBias: true };
    const mlp = { ...c, activation: readActivation(config, "hidden_act", "silu") };
    const windows = readQwenWindows(config, c.layers);
    const norm = rmsNorm(c.epsilon);
    return gatedDecoder(c, {
      norm,
      block: preNormBlock(
        norm,
        (b, x) => attention(b, x, { ...heads, window: windows[b.layer] }),
        (b, x) => gatedMlp(b, x, mlp),
      ),
    });
  },
};
