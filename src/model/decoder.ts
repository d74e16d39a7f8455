// What every decoder has in common: embeddings, blocks one after the other, a final norm. A family says what they are.

import type { GraphBuilder } from "../graph/builder.js";
import type { ActivationKind, ValueId } from "../graph/graph.js";
import { Block } from "./block.js";
import type { ConfigReader } from "./config.js";
import { HOOKS } from "./hooks.js";

/** A norm of a family: applies the weights at a module path, or none (null). */
export type Norm = (g: GraphBuilder, x: ValueId, at: string | null) => ValueId;

/** RMSNorm. @param offset 1 where weights are distances from 1 (Gemma). */
export function rmsNorm(epsilon: number, offset: 0 | 1 = 0): Norm {
  return (g, x, at) => g.rmsNorm(x, at === null ? null : `${at}.weight`, epsilon, { offset });
}

/** LayerNorm with weight and bias. */
export function layerNorm(epsilon: number): Norm {
  return (g, x, at) =>
    at === null ? g.layerNorm(x, null, null, epsilon) : g.layerNorm(x, `${at}.weight`, `${at}.bias`, epsilon);
}

/** A decoder, as a family describes it. Module paths are those of the base model, without its own name. */
export interface Decoder {
  readonly layers: number;
  /** `layers` of `layers.3.mlp`. */
  readonly blocks: string;
  /** What the first block reads. */
  readonly embed: (g: GraphBuilder) => ValueId;
  /** A block, from the stream before it to the stream after it. */
  readonly block: (b: Block, x: ValueId) => ValueId;
  readonly norm: Norm;
  /** Module path of the final norm. */
  readonly finalNorm: string;
}

/** Describes a decoder up to the highest wanted hook. */
export function buildDecoder(g: GraphBuilder, d: Decoder): void {
  let x = d.embed(g);
  for (let l = 0; l < d.layers && !g.isDone; l++) {
    const block = new Block(g, l, `${d.blocks}.${l}`);
    x = block.tap("resid_post", d.block(block, block.tap("resid_pre", x)));
  }
  if (g.isDone) return;
  g.tap(HOOKS.ln_final_normalized.path, d.norm(g, x, null));
  g.tap(HOOKS.ln_final.path, d.norm(g, x, d.finalNorm));
}

/** Token embeddings, marked as a hook point. @param scale what a family multiplies them by. */
export function embedTokens(
  g: GraphBuilder,
  weight: string,
  c: { readonly vocabulary: number; readonly width: number },
  scale = 1,
): ValueId {
  return g.tap(HOOKS.embed.path, g.scale(g.embed(weight, c.vocabulary, c.width), scale));
}

/** Learned position embeddings, marked as a hook point. */
export function embedPositions(
  g: GraphBuilder,
  weight: string,
  c: { readonly maxPositions: number; readonly width: number },
): ValueId {
  return g.tap(HOOKS.pos_embed.path, g.embedPositions(weight, c.maxPositions, c.width));
}

const ACTIVATIONS = {
  silu: "silu",
  swish: "silu",
  gelu: "gelu",
  gelu_new: "gelu_tanh",
  gelu_fast: "gelu_tanh",
  gelu_pytorch_tanh: "gelu_tanh",
  relu: "relu",
} as const satisfies Record<string, ActivationKind>;

/** The activation function that a field names in transformers' words (ACT2FN). @throws SluiceError `config`. */
export function readActivation(
  config: ConfigReader,
  field: string,
  fallback: keyof typeof ACTIVATIONS,
): ActivationKind {
  const names = Object.keys(ACTIVATIONS) as (keyof typeof ACTIVATIONS)[];
  return ACTIVATIONS[config.choice(field, names, fallback)];
}
