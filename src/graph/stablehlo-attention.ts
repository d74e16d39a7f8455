// Causal attention in StableHLO, in blocks of queries: a block sees the keys up to its own end (and from its window's start), so
// that half the scores of a long sample are never computed, and those of one block are all that is in memory.

import type { GraphNode } from "./graph.js";
import type { HloOptions } from "./stablehlo.js";
import type { HloFunction, HloValue } from "./stablehlo-text.js";

/** Queries of a block: enough rows for a product to be fast, few enough that little is computed only to be masked. */
const BLOCK = 256;

/**
 * Bytes that scores take for each token of a batch while a block of queries is computed: in float32, with their exponentials. Less where
 * samples are shorter than a block.
 */
export function scoreBytesPerToken(heads: number): number {
  return 2 * 4 * heads * BLOCK;
}

type Attention = GraphNode & { op: "attention" };

/**
 * q [samples x length, heads x d], k and v [samples x length, kvHeads x d] to the mixed values, f32 [samples x length, heads x d]. Samples are
 * padded on the right: no row before a sample's end sees what lies after it.
 */
export function attend(
  f: HloFunction,
  node: Attention,
  q: HloValue,
  k: HloValue,
  v: HloValue,
  { shape: { samples, length }, compute, plan }: HloOptions,
): HloValue {
  // Where there are fewer key-value heads than parts of the heads, the parts that share one have it each.
  const kvHeads = leastCommonMultiple(node.kvHeads, plan?.headParts ?? 1);
  const group = node.heads / kvHeads;
  const d = node.width / node.heads;
  const queries = f.transpose(f.reshape(q, [samples, length, kvHeads, group, d]), [0, 2, 3, 1, 4]);
  const repeat = (x: HloValue) => {
    const each = kvHeads / node.kvHeads;
    if (each === 1) return x;
    const heads = f.reshape(x, [samples, length, node.kvHeads, d]);
    return f.broadcast(heads, [samples, length, node.kvHeads, each, d], [0, 1, 2, 4]);
  };
  const byHead = (x: HloValue) =>
    f.transpose(f.reshape(repeat(x), [samples, length, kvHeads, d]), [0, 2, 1, 3]);
  const [keys, values] = [byHead(k), byHead(v)];
  const blocks: HloValue[] = [];
  for (let from = 0; from < length; from += BLOCK) {
    const to = Math.min(from + BLOCK, length);
    const first = node.window === null ? 0 : Math.max(0, from - node.window + 1);
    const block = { from, to, first, precision: compute === "float32" ? "highest" : "high" } as const;
    const mixed = attendBlock(
      f,
      node,
      f.slice(queries, 3, from, to),
      f.slice(keys, 2, first, to),
      f.slice(values, 2, first, to),
      block,
    );
    blocks.push(mixed);
  }
  const joined = f.concatenate(blocks, 3);
  return f.reshape(f.transpose(joined, [0, 3, 1, 2, 4]), [samples * length, node.width]);
}

interface Block {
  readonly from: number;
  readonly to: number;
  readonly first: number;
  readonly precision: "highest" | "high";
}

/** Queries [samples, kvHeads, group, n, d] of the positions [from, to), keys and values of [first, to). */
function attendBlock(
  f: HloFunction,
  node: Attention,
  queries: HloValue,
  keys: HloValue,
  values: HloValue,
  { from, to, first, precision }: Block,
): HloValue {
  const [samples = 0, kvHeads = 0, group = 0, n = 0, d = 0] = queries.shape;
  const seen = to - first;
  const rows = f.reshape(queries, [samples, kvHeads, group * n, d]);
  const batching = [
    [0, 1],
    [0, 1],
  ] as const;
  let scores = f.reshape(f.dot(rows, keys, { batching, contracting: [3, 3], precision }), [
    samples,
    kvHeads,
    group,
    n,
    seen,
  ]);
  const { softcap } = node;
  if (softcap === null) scores = f.binaryWith("multiply", scores, node.scale);
  else {
    const small = f.binaryWith("multiply", scores, node.scale / softcap);
    scores = f.binaryWith("multiply", f.unary("tanh", small), softcap);
  }
  const mask = f.broadcast(maskOf(f, node.window, from, first, [n, seen]), scores.shape, [3, 4]);
  scores = f.select(mask, scores, f.constant(Number.NEGATIVE_INFINITY, scores.shape, "f32"));
  const top = f.broadcast(f.reduce("maximum", scores, 4), scores.shape, [0, 1, 2, 3]);
  const powers = f.unary("exponential", f.binary("subtract", scores, top));
  // The sum divides what comes out, which is smaller than the scores.
  const flat = f.reshape(powers, [samples, kvHeads, group * n, seen]);
  const mixed = f.reshape(f.dot(flat, values, { batching, contracting: [3, 2], precision }), [
    samples,
    kvHeads,
    group,
    n,
    d,
  ]);
  const total = f.broadcast(f.reduce("add", powers, 4), mixed.shape, [0, 1, 2, 3]);
  return f.binary("divide", mixed, total);
}

function leastCommonMultiple(a: number, b: number): number {
  let multiple = a;
  while (multiple % b !== 0) multiple += a;
  return multiple;
}

/** i1 [n, seen]: whether the query at `from` + row sees the key at `first` + column. */
function maskOf(
  f: HloFunction,
  window: number | null,
  from: number,
  first: number,
  shape: readonly [number, number],
): HloValue {
  const row = f.binaryWith("add", f.iota(0, shape, "i32"), from);
  const column = f.binaryWith("add", f.iota(1, shape, "i32"), first);
  const causal = f.compare("LE", column, row);
  if (window === null) return causal;
  const near = f.compare("LT", f.binary("subtract", row, column), f.constant(window, shape, "i32"));
  return f.binary("and", causal, near);
}
