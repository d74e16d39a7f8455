// Phi-1, 1.5 and 2 (Li et al. 2023): attention and MLP side by side, reading one LayerNorm's output; rotary positions on a
// part of each head, and biases everywhere. transformers: models/phi/modeling_phi.py

import { twoLayerMlp } from "./block.js";
import { layerNorm, readActivation } from "./decoder.js";
import type { Family } from "./family.js";
import { attention, gatedDecoder, PROJECTION_MODULES, readGatedDecoder } from "./gated-decoder.js";
import type { ModulePaths } from "./parse-hooks.js";
import { readRope } from "./rope.js";

export const phi: Family = {
  name: "phi",
  architectures: ["PhiForCausalLM", "PhiModel"],
  read(config) {
    const c = readGatedDecoder(config, {
      layers: 24,
      width: 2048,
      vocabulary: 51_200,
      maxPositions: 2048,
      heads: 32,
      kvHeads: null,
      headWidth: null,
      mlpWidth: 8192,
      epsilon: 1e-5,
      epsilonField: "layer_norm_eps",
    });
    config.only("qk_layernorm", false);
    const heads = {
      ...c,
      rope: readRope(config, c.headWidth, { share: 0.5 }),
      qkvBias: true,
      outBias: true,
      outLayer: "dense",
    };
    const mlp = { ...c, activation: readActivation(config, "hidden_act", "gelu_new") };
    const norm = layerNorm(c.epsilon);
    return gatedDecoder(c, {
      norm,
      modules: MODULES,
      block(b, x) {
        const read = norm(b.g, x, b.name("input_layernorm"));
        return b.addBoth(x, attention(b, read, heads), twoLayerMlp(b, read, ["mlp.fc1", "mlp.fc2"], mlp));
      },
      finalNorm: "final_layernorm",
    });
  },
};

const MODULES: ModulePaths = {
  ...PROJECTION_MODULES,
  "model.layers.N.self_attn.dense": "attn_out",
  "model.layers.N.mlp": "mlp_out",
  "model.layers.N.mlp.fc1": "mlp_pre",
  "model.layers.N.mlp.fc2": "mlp_out",
  "model.final_layernorm": "ln_final",
};
