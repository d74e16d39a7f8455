// What rows are multiplied by to give the mean of those that count.

import type { TokenBatch } from "./engine.js";

/** f32 [samples x length]: 1 / n at the n rows of a sample that count, and 0 elsewhere. */
export function meanWeights({
  samples,
  length,
  rows,
}: Pick<TokenBatch, "samples" | "length" | "rows">): Float32Array {
  const counts = new Int32Array(samples);
  for (const row of rows) counts[Math.floor(row / length)] = (counts[Math.floor(row / length)] ?? 0) + 1;
  const weights = new Float32Array(samples * length);
  for (const row of rows) weights[row] = 1 / (counts[Math.floor(row / length)] ?? 1);
  return weights;
}
