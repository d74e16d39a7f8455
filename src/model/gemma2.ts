// Gemma 2 (Gemma Team 2024): norms before and after attention and MLP, norm weights as distances from 1, embeddings times
// sqrt(width), soft-capped scores, and a window in every other layer. transformers: models/gemma2/modeling_gemma2.py

import type { ValueId } from "../graph/graph.js";
import type { Block } from "./block.js";
import type { ConfigReader } from "./config.js";
import { type Norm, readActivation, rmsNorm } from "./decoder.js";
import type { Family } from "./family.js";
import { attention, gatedDecoder, gatedMlp, POST_NORM_MODULES, readGatedDecoder } from "./gated-decoder.js";
import { readLayerTypes, readWindow, windowsOf } from "./layer-types.js";
import { readRope } from "./rope.js";

export const gemma2: Family = {
  name: "gemma2",
  architectures: ["Gemma2ForCausalLM", "Gemma2Model"],
  read(config) {
    const c = readGatedDecoder(config, {
      layers: 26,
      width: 2304,
      vocabulary: 256_000,
      maxPositions: 8192,
      heads: 8,
      kvHeads: 4,
      headWidth: 256,
      mlpWidth: 9216,
      epsilon: 1e-6,
    });
    const types = readLayerTypes(config, c.layers, (l) =>
      l % 2 === 0 ? "sliding_attention" : "full_attention",
    );
    const window = readWindow(config, 4096);
    config.only("sliding_window_size", window); // Some releases say it twice.
    const windows = windowsOf(config, types, window);
    const softcap =
      config.raw("attn_logit_softcapping") === null ? null : config.positive("attn_logit_softcapping", 50);
    const heads = { ...c, ...readGemmaHeads(config), rope: readRope(config, c.headWidth), softcap };
    const mlp = { ...c, activation: readGemmaActivation(config) };
    const norm = rmsNorm(c.epsilon, 1);
    return gatedDecoder(c, {
      norm,
      embedScale: Math.sqrt(c.width),
      modules: POST_NORM_MODULES,
      block: gemmaBlock(
        norm,
        (b, x) => attention(b, x, { ...heads, window: windows[b.layer] }),
        (b, x) => gatedMlp(b, x, mlp),
      ),
    });
  },
};

/** A block that normalises what attention and MLP read, and what they give before it is added. */
export function gemmaBlock(
  norm: Norm,
  attn: (b: Block, x: ValueId) => ValueId,
  mlp: (b: Block, x: ValueId) => ValueId,
) {
  return (b: Block, x: ValueId): ValueId => {
    const { g } = b;
    const attended = attn(b, norm(g, x, b.name("input_layernorm")));
    const mid = b.addAttention(x, norm(g, attended, b.name("post_attention_layernorm")));
    const out = mlp(b, norm(g, mid, b.name("pre_feedforward_layernorm")));
    return b.addMlp(mid, norm(g, out, b.name("post_feedforward_layernorm")));
  };
}

/** What Gemma 2 and 3 say of their heads in the same words. */
export function readGemmaHeads(config: ConfigReader) {
  const hasBias = config.flag("attention_bias", false);
  config.only("use_bidirectional_attention", false);
  config.raw("final_logit_softcapping"); // Of the logits alone.
  const scale = config.positive("query_pre_attn_scalar", 256) ** -0.5;
  return { scale, qkvBias: hasBias, outBias: hasBias };
}

/** `hidden_activation`; older files also have `hidden_act`, which transformers does not read. */
export function readGemmaActivation(config: ConfigReader) {
  config.raw("hidden_act");
  return readActivation(config, "hidden_activation", "gelu_pytorch_tanh");
}
