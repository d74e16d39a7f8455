// Hook points by name: TransformerLens's names. What they mean is fixed by identities (docs/hooks.md), which are tests
// for every family, and stands in words in every tensor's metadata.

import { SluiceError } from "../base/errors.js";
import { GraphBuilder } from "../graph/builder.js";

/**
 * Every hook point by its short name, in the order in which a model computes them: the order of a shard's tensors within a layer.
 * `path` is TransformerLens's name, with N for the block's number.
 */
export const HOOKS = {
  embed: {
    path: "hook_embed",
    meaning: "token embeddings as they enter the residual stream, after the scale where the family has one",
  },
  pos_embed: { path: "hook_pos_embed", meaning: "learned position embeddings, as added to the embeddings" },
  resid_pre: { path: "blocks.N.hook_resid_pre", meaning: "residual stream before the block" },
  q: { path: "blocks.N.attn.hook_q", meaning: "queries of each head, before q-k norm and rotary positions" },
  k: {
    path: "blocks.N.attn.hook_k",
    meaning: "keys of each key-value head, before q-k norm and rotary positions",
  },
  v: { path: "blocks.N.attn.hook_v", meaning: "values of each key-value head" },
  rot_q: {
    path: "blocks.N.attn.hook_rot_q",
    meaning: "queries of each head, after q-k norm and rotary positions",
  },
  rot_k: {
    path: "blocks.N.attn.hook_rot_k",
    meaning: "keys of each key-value head, after q-k norm and rotary positions",
  },
  z: {
    path: "blocks.N.attn.hook_z",
    meaning: "values of each head mixed by attention, before the output projection",
  },
  attn_out: {
    path: "blocks.N.hook_attn_out",
    meaning: "what attention adds to the residual stream: with bias, post-norm and multiplier",
  },
  resid_mid: { path: "blocks.N.hook_resid_mid", meaning: "residual stream between attention and MLP" },
  mlp_pre: {
    path: "blocks.N.mlp.hook_pre",
    meaning: "what the MLP's activation function reads (in a gated MLP: the gate)",
  },
  mlp_pre_linear: {
    path: "blocks.N.mlp.hook_pre_linear",
    meaning: "the up projection of a gated MLP, which the activated gate is multiplied with",
  },
  mlp_post: {
    path: "blocks.N.mlp.hook_post",
    meaning: "what the MLP's last layer reads: activation(pre), in a gated MLP times pre_linear",
  },
  mlp_out: {
    path: "blocks.N.hook_mlp_out",
    meaning: "what the MLP adds to the residual stream: with bias, post-norm and multiplier",
  },
  resid_post: {
    path: "blocks.N.hook_resid_post",
    meaning:
      "residual stream after the block, before any final norm (Hugging Face: hidden_states[layer + 1], but for the last layer)",
  },
  ln_final_normalized: {
    path: "ln_final.hook_normalized",
    meaning: "final norm before its weight and bias: normalised values of the residual stream",
  },
  ln_final: {
    path: "ln_final.hook_out",
    meaning: "final norm after its weight and bias (Hugging Face: hidden_states[-1])",
  },
} as const;

/** A hook point's short name. */
export type Hook = keyof typeof HOOKS;

/** All short names, in order. */
export const HOOK_NAMES = Object.keys(HOOKS) as readonly Hook[];

/** The beginning of a full name: at most 10,000 layers. */
const LAYER = /^blocks\.(\d{1,5})\./;

/** One hook point of a model. */
export interface Tap {
  /** `blocks.3.attn.hook_q`. */
  readonly name: string;
  /** Null where it belongs to no block. */
  readonly layer: number | null;
  readonly hook: Hook;
  /** What it is, in words. */
  readonly meaning: string;
}

/** A hook point with the shape of one row. */
export interface HookPoint extends Tap {
  /** [width], or [heads, head width]. */
  readonly rowShape: readonly number[];
}

/** The full name of a hook. @param layer of no effect where the hook belongs to no block. */
export function hookName(hook: Hook, layer: number): string {
  return HOOKS[hook].path.replace("N", String(layer));
}

/** Whether a model may have a hook point of that full name. */
export function isHookName(name: string): boolean {
  return hookOf(name) !== undefined;
}

/** The tap of a full name. @throws SluiceError `bug` for a name that no model has. */
export function tapOf(name: string): Tap {
  const layer = LAYER.exec(name)?.[1];
  const hook = hookOf(name);
  if (!hook) throw new SluiceError("bug", `${name} is no hook point`);
  const { meaning } = HOOKS[hook];
  if (layer === undefined) return { name, layer: null, hook, meaning };
  return { name, layer: Number(layer), hook, meaning: `block ${layer}: ${meaning}` };
}

function hookOf(name: string): Hook | undefined {
  const path = name.replace(LAYER, "blocks.N.");
  return path.includes("N") === LAYER.test(name) ? HOOK_NAMES.find((h) => HOOKS[h].path === path) : undefined;
}

/** The hook points that a model has, in the order of a shard's tensors. @param build describes the model. */
export function hookPoints(build: (g: GraphBuilder) => void): HookPoint[] {
  const points = [...GraphBuilder.outline(build)].map(([name, rowShape]) => ({ ...tapOf(name), rowShape }));
  return points.sort(
    (a, b) => placeOf(a) - placeOf(b) || HOOK_NAMES.indexOf(a.hook) - HOOK_NAMES.indexOf(b.hook),
  );
}

/** Embeddings first, then block after block, then the final norm. */
function placeOf({ layer, hook }: Tap): number {
  return layer ?? (hook.startsWith("ln_final") ? Number.POSITIVE_INFINITY : -1);
}
