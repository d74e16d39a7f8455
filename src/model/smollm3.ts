// SmolLM3 (Hugging Face 2025): Llama's decoder, in which every fourth layer has no positions at all (NoPE).
// transformers: models/smollm3/modeling_smollm3.py

import type { ConfigReader } from "./config.js";
import { readActivation, rmsNorm } from "./decoder.js";
import type { Family } from "./family.js";
import { attention, gatedDecoder, gatedMlp, preNormBlock, readGatedDecoder } from "./gated-decoder.js";
import { readLayerTypes, readWindow, windowsOf } from "./layer-types.js";
import { readRope } from "./rope.js";

export const smollm3: Family = {
  name: "smollm3",
  architectures: ["SmolLM3ForCausalLM", "SmolLM3Model"],
  read(config) {
    const c = readGatedDecoder(config, {
      layers: 36,
      width: 2048,
      vocabulary: 128_256,
      maxPositions: 32_768,
      heads: 16,
      kvHeads: 4,
      headWidth: null,
      mlpWidth: 11_008,
      epsilon: 1e-6,
    });
    const rope = readRope(config, c.headWidth, { base: 2_000_000 });
    const isTurned = readTurnedLayers(config, c.layers);
    const window = config.flag("use_sliding_window", false) ? readWindow(config, null) : null;
    config.raw("sliding_window"); // Without effect unless use_sliding_window is true.
    const types = readLayerTypes(config, c.layers, (l) =>
      window !== null && !isTurned[l] ? "sliding_attention" : "full_attention",
    );
    const windows = windowsOf(config, types, window);
    const hasBias = config.flag("attention_bias", false);
    const heads = { ...c, qkvBias: hasBias, outBias: hasBias };
    const mlp = {
      ...c,
      activation: readActivation(config, "hidden_act", "silu"),
      mlpBias: config.flag("mlp_bias", false),
    };
    const norm = rmsNorm(c.epsilon);
    return gatedDecoder(c, {
      norm,
      block: preNormBlock(
        norm,
        (b, x) =>
          attention(b, x, {
            ...heads,
            rope: isTurned[b.layer] ? rope : "none",
            window: windows[b.layer],
          }),
        (b, x) => gatedMlp(b, x, mlp),
      ),
    });
  },
};

/** `no_rope_layers`, which says 1 of a layer *with* rotary positions; or all but every so many. */
function readTurnedLayers(config: ConfigReader, layers: number): boolean[] {
  const interval = config.whole("no_rope_layer_interval", 4);
  const listed =
    config.raw("no_rope_layers") ?? Array.from({ length: layers }, (_, l) => ((l + 1) % interval ? 1 : 0));
  if (Array.isArray(listed) && listed.length >= layers && listed.every((n) => n === 0 || n === 1))
    return listed.map((n) => n === 1);
  throw config.refuse("no_rope_layers", `0 or 1 for each of ${layers} layers`);
}
