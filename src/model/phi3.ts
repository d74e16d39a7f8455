// Phi-3 (Abdin et al. 2024): Llama's decoder with q, k and v in one linear layer, gate and up projection in another, and
// rotary positions on a part of each head. transformers: models/phi3/modeling_phi3.py

import type { ActivationKind, ValueId } from "../graph/graph.js";
import { activateGated, attend, type Block, type Heads } from "./block.js";
import { readActivation, rmsNorm } from "./decoder.js";
import type { Family } from "./family.js";
import { gatedDecoder, preNormBlock, readGatedDecoder } from "./gated-decoder.js";
import { readWindow } from "./layer-types.js";
import type { ModulePaths } from "./parse-hooks.js";
import { readRope } from "./rope.js";

export const phi3: Family = {
  name: "phi3",
  architectures: ["Phi3ForCausalLM", "Phi3Model"],
  read(config) {
    const c = readGatedDecoder(config, {
      layers: 32,
      width: 3072,
      vocabulary: 32_064,
      maxPositions: 4096,
      heads: 32,
      kvHeads: null,
      headWidth: null,
      mlpWidth: 8192,
      epsilon: 1e-5,
    });
    const heads = {
      ...c,
      rope: readRope(config, c.headWidth, { share: 1 }),
      window: readWindow(config, null),
    };
    const mlp = { ...c, activation: readActivation(config, "hidden_act", "silu") };
    const norm = rmsNorm(c.epsilon);
    return gatedDecoder(c, {
      norm,
      modules: MODULES,
      block: preNormBlock(
        norm,
        (b, x) => attention(b, x, heads),
        (b, x) => gatedMlp(b, x, mlp),
      ),
    });
  },
};

function attention(b: Block, x: ValueId, c: Heads & { width: number }): ValueId {
  const [wide, narrow] = [c.heads * c.headWidth, c.kvHeads * c.headWidth];
  const qkv = b.linear(x, "self_attn.qkv_proj", wide + 2 * narrow);
  const [q, k, v] = b.g.split(qkv, [wide, narrow, narrow]);
  return b.linear(attend(b, q, k, v, c), "self_attn.o_proj", c.width);
}

function gatedMlp(
  b: Block,
  x: ValueId,
  c: { width: number; mlpWidth: number; activation: ActivationKind },
): ValueId {
  const both = b.linear(x, "mlp.gate_up_proj", 2 * c.mlpWidth);
  const [gate, up] = b.g.split(both, [c.mlpWidth, c.mlpWidth]);
  return b.linear(activateGated(b, gate, up, c.activation), "mlp.down_proj", c.width);
}

const MODULES: ModulePaths = {
  "model.embed_tokens": "embed",
  "model.layers.N": "resid_post",
  "model.layers.N.self_attn": "attn_out",
  "model.layers.N.self_attn.o_proj": "attn_out",
  "model.layers.N.self_attn.qkv_proj": { refuse: "its output holds q, k and v: name those" },
  "model.layers.N.mlp": "mlp_out",
  "model.layers.N.mlp.gate_up_proj": { refuse: "its output holds mlp_pre and mlp_pre_linear: name those" },
  "model.layers.N.mlp.down_proj": "mlp_out",
  "model.norm": "ln_final",
};
