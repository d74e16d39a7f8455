// OLMo 3 (OLMo Team 2025): OLMo 2's blocks with a window in three layers of four; rotary positions are scaled in the
// others alone. transformers: models/olmo3/modeling_olmo3.py

import { readActivation, rmsNorm } from "./decoder.js";
import type { Family } from "./family.js";
import { attention, gatedDecoder, gatedMlp, POST_NORM_MODULES, readGatedDecoder } from "./gated-decoder.js";
import { readLayerTypes, readWindow, windowsOf } from "./layer-types.js";
import { olmoBlock } from "./olmo2.js";
import { readRope } from "./rope.js";

export const olmo3: Family = {
  name: "olmo3",
  architectures: ["Olmo3ForCausalLM", "Olmo3Model"],
  read(config) {
    const c = readGatedDecoder(config, {
      layers: 32,
      width: 4096,
      vocabulary: 50_304,
      maxPositions: 2048,
      heads: 32,
      kvHeads: null,
      headWidth: null,
      mlpWidth: 11_008,
      epsilon: 1e-5,
    });
    const types = readLayerTypes(config, c.layers, (l) =>
      (l + 1) % 4 === 0 ? "full_attention" : "sliding_attention",
    );
    const windows = windowsOf(config, types, readWindow(config, 4096));
    const ropeOf = (layerType: "full_attention" | "sliding_attention") =>
      readRope(config, c.headWidth, {
        layerType,
        base: 500_000,
        takesOldScaling: layerType === "full_attention",
        // models/olmo3/configuration_olmo3.py, convert_rope_params_to_dict: there the first to ask takes it away (5.23).
        refusesOtherBase: layerType === "sliding_attention" && types.includes(layerType),
      });
    const ropes = {
      full_attention: ropeOf("full_attention"),
      sliding_attention: ropeOf("sliding_attention"),
    };
    const hasBias = config.flag("attention_bias", false);
    const heads = { ...c, qkvBias: hasBias, outBias: hasBias };
    const mlp = { ...c, activation: readActivation(config, "hidden_act", "silu") };
    const norm = rmsNorm(c.epsilon);
    return gatedDecoder(c, {
      norm,
      modules: POST_NORM_MODULES,
      block: olmoBlock(
        norm,
        (b, x, normalise) => {
          const rope = ropes[types[b.layer] ?? "full_attention"];
          return attention(b, x, { ...heads, rope, window: windows[b.layer], normalise });
        },
        (b, x) => gatedMlp(b, x, mlp),
      ),
    });
  },
};
