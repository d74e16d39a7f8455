// Statistics of a whole stream or run from those of its shards: merged in the order of the shards, so that everybody who
// merges the same commits gets the same numbers.

import type { Commit, StatisticsEntry } from "./commit.js";

const NOTHING: StatisticsEntry = {
  count: 0,
  rows: 0,
  mean: 0,
  variance: 0,
  mean_norm: 0,
  max_abs: 0,
  nan: 0,
  inf: 0,
  overflow: 0,
};

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

/** The statistics of one tensor over commits, in the order given. */
export function mergeStatistics(commits: readonly Commit[], tensor: string): StatisticsEntry {
  return commits.reduce((merged, commit) => {
    const entry = commit.statistics[tensor];
    return entry ? mergeEntries(merged, entry) : merged;
  }, NOTHING);
}
