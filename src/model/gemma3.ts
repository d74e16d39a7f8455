// Gemma 3 (Gemma Team 2025), the text model: Gemma 2's blocks with a q-k norm in place of the soft cap, five layers with a
// window to one without, and rotary positions of another base in each kind. The larger ones come inside models of images and
// text. transformers: models/gemma3/modeling_gemma3.py

import { rmsNorm } from "./decoder.js";
import type { Family } from "./family.js";
import {
  attention,
  gatedDecoder,
  gatedMlp,
  normaliseHeads,
  POST_NORM_MODULES,
  readGatedDecoder,
} from "./gated-decoder.js";
import { gemmaBlock, readGemmaActivation, readGemmaHeads } from "./gemma2.js";
import { readLayerTypes, readWindow, windowsOf } from "./layer-types.js";
import { readRope } from "./rope.js";

export const gemma3: Family = {
  name: "gemma3",
  architectures: ["Gemma3ForCausalLM", "Gemma3TextModel"],
  read(config) {
    const c = readGatedDecoder(config, {
      layers: 26,
      width: 2304,
      vocabulary: 262_208,
      maxPositions: 131_072,
      heads: 8,
      kvHeads: 4,
      headWidth: 256,
      mlpWidth: 9216,
      epsilon: 1e-6,
    });
    const pattern = config.whole("sliding_window_pattern", config.whole("_sliding_window_pattern", 6));
    const types = readLayerTypes(config, c.layers, (l) =>
      (l + 1) % pattern === 0 ? "full_attention" : "sliding_attention",
    );
    const windows = windowsOf(config, types, readWindow(config, 4096));
    const ropes = {
      full_attention: readRope(config, c.headWidth, { layerType: "full_attention", base: 1_000_000 }),
      sliding_attention: readRope(config, c.headWidth, {
        layerType: "sliding_attention",
        base: 10_000,
        baseField: "rope_local_base_freq",
        takesOldScaling: false,
      }),
    };
    const heads = { ...c, ...readGemmaHeads(config) };
    config.only("attn_logit_softcapping"); // transformers reads it and does not use it.
    const mlp = { ...c, activation: readGemmaActivation(config) };
    const norm = rmsNorm(c.epsilon, 1);
    return gatedDecoder(c, {
      norm,
      embedScale: Math.sqrt(c.width),
      modules: POST_NORM_MODULES,
      block: gemmaBlock(
        norm,
        (b, x) =>
          attention(b, x, {
            ...heads,
            rope: ropes[types[b.layer] ?? "full_attention"],
            window: windows[b.layer],
            normalise: normaliseHeads(b, c.epsilon, 1),
          }),
        (b, x) => gatedMlp(b, x, mlp),
      ),
    });
  },
};

/** The text model inside a checkpoint of images and text. */
export const gemma3WithImages: Family = {
  name: "gemma3",
  architectures: ["Gemma3ForConditionalGeneration"],
  read(config) {
    for (const field of IMAGE_FIELDS) config.raw(field);
    const text = config.nested("text_config");
    const shape = gemma3.read(text);
    text.refuseTheRest();
    const modules = Object.entries(shape.modules).map(([path, hook]) => [
      path.replace(/^model\./, "model.language_model."),
      hook,
    ]);
    return { ...shape, modules: Object.fromEntries(modules) };
  },
};

/** Of no effect on text. */
const IMAGE_FIELDS = [
  "vision_config",
  "mm_tokens_per_image",
  "boi_token_index",
  "eoi_token_index",
  "image_token_index",
] as const;
