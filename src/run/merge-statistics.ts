// Statistics of a whole stream or run from those of its shards: merged in the order of the shards, so that everybody who
// merges the same commits gets the same numbers.

import type { StatisticsEntry } from "./commit.js";

/** Both sets of values together (Chan, Golub, LeVeque 1979, "Updating formulae and a pairwise algorithm"). */
export function mergeEntries(a: StatisticsEntry, b: StatisticsEntry): StatisticsEntry {
  const count = a.count + b.count;
  const rows = a.rows + b.rows;
  const delta = b.mean - a.mean;
  const m2 =
    a.variance * a.count +
    b.variance * b.count +
    (count === 0 ? 0 : (delta * delta * a.count * b.count) / count);
  return {
    count,
    rows,
    mean: count === 0 ? 0 : a.mean + (delta * b.count) / count,
    variance: count === 0 ? 0 : m2 / count,
    mean_norm: rows === 0 ? 0 : (a.mean_norm * a.rows + b.mean_norm * b.rows) / rows,
    max_abs: Math.max(a.max_abs, b.max_abs),
    nan: a.nan + b.nan,
    inf: a.inf + b.inf,
    overflow: a.overflow + b.overflow,
  };
}

/** Joins a shard's statistics to those of all shards before it, by tensor, in place. */
export function mergeStatistics(
  merged: Record<string, StatisticsEntry>,
  shard: Readonly<Record<string, StatisticsEntry>>,
): void {
  for (const [name, entry] of Object.entries(shard)) {
    const before = merged[name];
    merged[name] = before ? mergeEntries(before, entry) : entry;
  }
}
