// The decoder that Llama made common: RMSNorm before attention and before a gated MLP, rotary positions, grouped
// key-value heads. Families that are built like it give their numbers.

import type { GraphBuilder } from "../graph/builder.js";
import type { ValueId } from "../graph/graph.js";

/** The numbers of such a decoder. Widths in features. */
export interface GatedDecoder {
  readonly layers: number;
  readonly width: number;
  readonly vocabulary: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headWidth: number;
  readonly mlpWidth: number;
  readonly epsilon: number;
  /** Radians a position, one a pair of elements of a head. */
  readonly frequencies: readonly number[];
  readonly activation: "silu";
  readonly qkvBias: boolean;
  readonly outBias: boolean;
  readonly mlpBias: boolean;
}

/** Describes the decoder up to the highest wanted hook. */
export function buildGatedDecoder(g: GraphBuilder, c: GatedDecoder): void {
  let x = g.embed("embed_tokens.weight", c.vocabulary, c.width);
  for (let l = 0; l < c.layers && !g.isDone; l++) {
    const hook = (name: string) => `blocks.${l}.hook_${name}`;
    g.tap(hook("resid_pre"), x);
    const attn = attention(
      g,
      c,
      g.rmsNorm(x, `layers.${l}.input_layernorm.weight`, c.epsilon),
      `layers.${l}.self_attn`,
    );
    x = g.tap(hook("resid_mid"), g.add(x, g.tap(hook("attn_out"), attn)));
    const mlp = gatedMlp(
      g,
      c,
      g.rmsNorm(x, `layers.${l}.post_attention_layernorm.weight`, c.epsilon),
      `layers.${l}.mlp`,
    );
    x = g.tap(hook("resid_post"), g.add(x, g.tap(hook("mlp_out"), mlp)));
  }
}

function attention(g: GraphBuilder, c: GatedDecoder, x: ValueId, at: string): ValueId {
  const project = (name: string, heads: number) =>
    g.linear(x, `${at}.${name}.weight`, heads * c.headWidth, {
      bias: c.qkvBias ? `${at}.${name}.bias` : null,
    });
  const q = g.rope(project("q_proj", c.heads), c.heads, c.frequencies);
  const k = g.rope(project("k_proj", c.kvHeads), c.kvHeads, c.frequencies);
  const v = project("v_proj", c.kvHeads);
  const z = g.attention(q, k, v, { heads: c.heads, kvHeads: c.kvHeads, scale: 1 / Math.sqrt(c.headWidth) });
  return g.linear(z, `${at}.o_proj.weight`, c.width, { bias: c.outBias ? `${at}.o_proj.bias` : null });
}

function gatedMlp(g: GraphBuilder, c: GatedDecoder, x: ValueId, at: string): ValueId {
  const layer = (name: string, from: ValueId, out: number) =>
    g.linear(from, `${at}.${name}.weight`, out, { bias: c.mlpBias ? `${at}.${name}.bias` : null });
  const gate = g.activation(layer("gate_proj", x, c.mlpWidth), c.activation);
  return layer("down_proj", g.mul(gate, layer("up_proj", x, c.mlpWidth)), c.width);
}
