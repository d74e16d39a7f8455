// OLMo 2 (OLMo Team 2025): attention and MLP read the stream as it is and are normalised before they are added; q and k are
// normalised over their whole width. transformers: models/olmo2/modeling_olmo2.py

import type { ValueId } from "../graph/graph.js";
import type { Block, Heads } from "./block.js";
import { type Norm, readActivation, rmsNorm } from "./decoder.js";
import type { Family } from "./family.js";
import { attention, gatedDecoder, gatedMlp, POST_NORM_MODULES, readGatedDecoder } from "./gated-decoder.js";
import { readRope } from "./rope.js";

export const olmo2: Family = {
  name: "olmo2",
  architectures: ["Olmo2ForCausalLM", "Olmo2Model"],
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
    const hasBias = config.flag("attention_bias", false);
    const heads = { ...c, rope: readRope(config, c.headWidth), qkvBias: hasBias, outBias: hasBias };
    const mlp = { ...c, activation: readActivation(config, "hidden_act", "silu") };
    const norm = rmsNorm(c.epsilon);
    return gatedDecoder(c, {
      norm,
      modules: POST_NORM_MODULES,
      block: olmoBlock(
        norm,
        (b, x, normalise) => attention(b, x, { ...heads, normalise }),
        (b, x) => gatedMlp(b, x, mlp),
      ),
    });
  },
};

/** A block of OLMo 2 and 3. @param attn is given the q-k norm. */
export function olmoBlock(
  norm: Norm,
  attn: (b: Block, x: ValueId, normalise: Heads["normalise"]) => ValueId,
  mlp: (b: Block, x: ValueId) => ValueId,
) {
  return (b: Block, x: ValueId): ValueId => {
    const { g } = b;
    const attended = attn(b, x, (projected, of) => norm(g, projected, b.name(`self_attn.${of}_norm`)));
    const mid = b.addAttention(x, norm(g, attended, b.name("post_attention_layernorm")));
    return b.addMlp(mid, norm(g, mlp(b, mid), b.name("post_feedforward_layernorm")));
  };
}
