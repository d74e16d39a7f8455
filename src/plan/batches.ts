// From the lengths of a unit's samples to batches: pure, for one choice of limits, so that every machine and every
// attempt computes the same batches.

import { type BatchShape, roundShape } from "./batch-shapes.js";

/** Upper limits of one batch. Each batch holds at least one sample, even where that alone exceeds a limit. */
export interface BatchLimits {
  /** Tokens computed: samples times the longest of them. */
  readonly maxTokens: number;
  /** Samples in a batch. */
  readonly maxSamples: number;
  /** Bytes of outputs and of the largest intermediate; a constant of the program, never taken from free memory. */
  readonly maxBytes: number;
  /** Bytes a computed token costs (outputs and widest intermediates). */
  readonly bytesPerToken: number;
  /** Bytes a pair of tokens of one sample costs (attention scores: heads times 4). */
  readonly bytesPerPair: number;
  /** `few`: the engine pads batches to one of few shapes (batch-shapes.ts); `any` where left out. */
  readonly shapes?: "any" | "few";
}

/** Samples that are computed together, padded on the right to `length`. */
export interface Batch {
  /** Indices into the unit's samples, ascending. */
  readonly samples: readonly number[];
  /** The longest sample's length in tokens. */
  readonly length: number;
  /** Tokens computed, all padding included. */
  readonly computed: number;
}

/** What a batch costs besides its tokens, in tokens: starting an engine on one more batch is not free. */
const BATCH_COST = 48;

/**
 * Cuts the samples, sorted by length, into batches so that the tokens computed (padding included) and a small cost for each
 * batch are least: exact, by dynamic programming over the cuts. The longest batch comes first, so that memory peaks early.
 * @param lengths tokens of each sample, all at least 1.
 */
export function batchesOf(lengths: readonly number[], limits: BatchLimits): Batch[] {
  const order = lengths.map((_, i) => i).sort((a, b) => (lengths[b] ?? 0) - (lengths[a] ?? 0) || a - b);
  const count = order.length;
  /** Least cost of the samples from i on (in order), and how many the first batch then takes. */
  const cost = new Float64Array(count + 1);
  const take = new Int32Array(count + 1);
  for (let i = count - 1; i >= 0; i--) {
    const length = lengths[order[i] ?? 0] ?? 0;
    cost[i] = Number.POSITIVE_INFINITY;
    for (let n = 1; i + n <= count && (n === 1 || fits(n, length, limits)); n++) {
      const total = computedTokens(n, length, limits) + BATCH_COST + (cost[i + n] ?? 0);
      if (total < (cost[i] ?? 0)) {
        cost[i] = total;
        take[i] = n;
      }
    }
  }
  const batches: Batch[] = [];
  for (let i = 0; i < count; i += take[i] ?? 1) {
    const samples = order.slice(i, i + (take[i] ?? 1));
    const length = lengths[order[i] ?? 0] ?? 0;
    const computed = computedTokens(samples.length, length, limits);
    batches.push({ samples: samples.sort((a, b) => a - b), length, computed });
  }
  return batches;
}

/** Whether so many samples of that length stay within the limits, as they are computed. */
function fits(samples: number, length: number, limits: BatchLimits): boolean {
  const shape = shapeOf(samples, length, limits);
  const tokens = shape.samples * shape.length;
  const bytes = tokens * limits.bytesPerToken + tokens * shape.length * limits.bytesPerPair;
  return samples <= limits.maxSamples && tokens <= limits.maxTokens && bytes <= limits.maxBytes;
}

function computedTokens(samples: number, length: number, limits: BatchLimits): number {
  const shape = shapeOf(samples, length, limits);
  return shape.samples * shape.length;
}

function shapeOf(samples: number, length: number, { shapes }: BatchLimits): BatchShape {
  return shapes === "few" ? roundShape({ samples, length }) : { samples, length };
}
