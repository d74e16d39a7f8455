// One block of a decoder while it is described: names the block's parameters, marks its hook points, and adds to the
// residual stream in the one way in which the hooks' identities hold (docs/hooks.md).

import type { GraphBuilder, Rope } from "../graph/builder.js";
import type { ActivationKind, ValueId } from "../graph/graph.js";
import { type Hook, hookName } from "./hooks.js";

/** A block of a decoder. */
export class Block {
  readonly g: GraphBuilder;
  readonly layer: number;
  readonly #at: string;

  /** @param at the module path of the block, as its parameters are named. */
  constructor(g: GraphBuilder, layer: number, at: string) {
    this.g = g;
    this.layer = layer;
    this.#at = at;
  }

  /** The name of a module or parameter of this block. */
  name(path: string): string {
    return `${this.#at}.${path}`;
  }

  /** Marks a hook point of this block. @param heads where a row is [heads, head width]. */
  tap(hook: Hook, x: ValueId, heads?: number): ValueId {
    return this.g.tap(hookName(hook, this.layer), x, heads);
  }

  /** A linear layer at a module path of this block. */
  linear(x: ValueId, path: string, out: number, bias = false): ValueId {
    const at = this.name(path);
    return this.g.linear(x, `${at}.weight`, out, { bias: bias ? `${at}.bias` : null });
  }

  /** The stream after attention. @param attn what is added: after post-norms and multipliers. */
  addAttention(x: ValueId, attn: ValueId): ValueId {
    return this.tap("resid_mid", this.g.add(x, this.tap("attn_out", attn)));
  }

  /** The stream after the MLP. @param mlp what is added: after post-norms and multipliers. */
  addMlp(x: ValueId, mlp: ValueId): ValueId {
    return this.g.add(x, this.tap("mlp_out", mlp));
  }

  /** The stream after a block whose attention and MLP both read what came in: there is no middle. */
  addBoth(x: ValueId, attn: ValueId, mlp: ValueId): ValueId {
    return this.g.add(this.g.add(x, this.tap("attn_out", attn)), this.tap("mlp_out", mlp));
  }
}

/** How heads attend. Widths in features. */
export interface Heads {
  readonly heads: number;
  /** Each serves heads / kvHeads query heads; as many as heads in plain multi-head attention. */
  readonly kvHeads: number;
  readonly headWidth: number;
  /** What scores are multiplied by; 1 / sqrt(headWidth) unless given. */
  readonly scale?: number;
  /** Null where positions are learned; `none` in a layer without any, of a model whose others are rotary (NoPE). */
  readonly rope: Rope | "none" | null;
  /** Position i sees i - window + 1 to i. */
  readonly window?: number | null;
  readonly softcap?: number | null;
  /** The q-k norm, where there is one. @param of `q` or `k`. */
  readonly normalise?: (x: ValueId, of: "q" | "k", heads: number) => ValueId;
}

/** Attention from projected q, k and v to the mixed values of the heads, every hook point on the way marked. */
export function attend(b: Block, q: ValueId, k: ValueId, v: ValueId, c: Heads): ValueId {
  const prepare = (x: ValueId, of: "q" | "k", heads: number): ValueId => {
    const y = c.normalise ? c.normalise(b.tap(of, x, heads), of, heads) : b.tap(of, x, heads);
    if (c.rope === null) return y;
    return b.tap(`rot_${of}`, c.rope === "none" ? y : b.g.rope(y, heads, c.rope), heads);
  };
  const { heads, kvHeads, scale = 1 / Math.sqrt(c.headWidth), window, softcap } = c;
  const [queries, keys] = [prepare(q, "q", heads), prepare(k, "k", kvHeads)];
  const values = b.tap("v", v, kvHeads);
  return b.tap("z", b.g.attention(queries, keys, values, { heads, kvHeads, scale, window, softcap }), heads);
}

/** The hidden layer of an MLP without a gate, from what its first layer gave. */
export function activate(b: Block, pre: ValueId, activation: ActivationKind): ValueId {
  return b.tap("mlp_post", b.g.activation(b.tap("mlp_pre", pre), activation));
}

/** An MLP of two layers with biases. @param names of its layers' modules. */
export function twoLayerMlp(
  b: Block,
  x: ValueId,
  names: readonly [first: string, last: string],
  c: {
    readonly width: number;
    readonly mlpWidth: number;
    readonly activation: ActivationKind;
    readonly mlpBias?: boolean;
  },
): ValueId {
  const { mlpBias = true } = c;
  const pre = b.linear(x, names[0], c.mlpWidth, mlpBias);
  return b.linear(activate(b, pre, c.activation), names[1], c.width, mlpBias);
}

/** The hidden layer of a gated MLP, from its gate and its up projection. */
export function activateGated(b: Block, gate: ValueId, up: ValueId, activation: ActivationKind): ValueId {
  const activated = b.g.activation(b.tap("mlp_pre", gate), activation);
  return b.tap("mlp_post", b.g.mul(activated, b.tap("mlp_pre_linear", up)));
}
