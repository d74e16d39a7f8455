// StarCoder2 (Lozhkov et al. 2024): Llama's decoder with LayerNorm, an MLP of two layers, biases, and a window.
// transformers: models/starcoder2/modeling_starcoder2.py

import { twoLayerMlp } from "./block.js";
import { layerNorm, readActivation } from "./decoder.js";
import type { Family } from "./family.js";
import {
  attention,
  gatedDecoder,
  PROJECTION_MODULES,
  preNormBlock,
  readGatedDecoder,
} from "./gated-decoder.js";
import { readWindow } from "./layer-types.js";
import type { ModulePaths } from "./parse-hooks.js";
import { readRope } from "./rope.js";

export const starcoder2: Family = {
  name: "starcoder2",
  architectures: ["Starcoder2ForCausalLM", "Starcoder2Model"],
  read(config) {
    const c = readGatedDecoder(config, {
      layers: 30,
      width: 3072,
      vocabulary: 49_152,
      maxPositions: 4096,
      heads: 24,
      kvHeads: 2,
      headWidth: null,
      mlpWidth: 12_288,
      epsilon: 1e-5,
      epsilonField: "norm_epsilon",
    });
    const hasBias = config.flag("use_bias", true);
    const heads = {
      ...c,
      rope: readRope(config, c.headWidth),
      window: readWindow(config, null),
      qkvBias: hasBias,
      outBias: hasBias,
    };
    const activation = readActivation(config, "hidden_act", "gelu_pytorch_tanh");
    const mlp = { ...c, activation, mlpBias: hasBias };
    for (const field of OF_THE_TRAINING_CODE) config.raw(field);
    const norm = layerNorm(c.epsilon);
    return gatedDecoder(c, {
      norm,
      modules: MODULES,
      block: preNormBlock(
        norm,
        (b, x) => attention(b, x, heads),
        (b, x) => twoLayerMlp(b, x, ["mlp.c_fc", "mlp.c_proj"], mlp),
      ),
    });
  },
};

/** The releases say these too, and transformers does not read them. */
const OF_THE_TRAINING_CODE = [
  "activation_function",
  "attention_softmax_in_fp32",
  "layer_norm_epsilon",
  "mlp_type",
  "norm_type",
  "scale_attention_softmax_in_fp32",
  "scale_attn_weights",
] as const;

const MODULES: ModulePaths = {
  ...PROJECTION_MODULES,
  "model.layers.N.self_attn.o_proj": "attn_out",
  "model.layers.N.mlp": "mlp_out",
  "model.layers.N.mlp.c_fc": "mlp_pre",
  "model.layers.N.mlp.c_proj": "mlp_out",
  "model.norm": "ln_final",
};
