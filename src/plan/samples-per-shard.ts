// How many records a shard holds, so that it is about as large as was asked for. Chosen once, when the run is created.

/** Tokens computed for one shard at most: a worker that dies loses no more than this. */
export const MAX_TOKENS_PER_SHARD = 131_072;
const MAX_RECORDS_PER_SHARD = 65_536;

/** One record of the sample that the choice is made from. */
export interface RecordEstimate {
  /** How many records it stands for, relatively. */
  readonly weight: number;
  /** Bytes it will take in a shard, and tokens that are computed for it; 0 where it is skipped. */
  readonly storedBytes: number;
  readonly tokens: number;
}

/** floor(min(shard bytes / mean stored bytes, 131,072 / mean tokens)), between 1 and 65,536; and which of the two bound it. */
export function chooseSamplesPerShard(
  estimates: readonly RecordEstimate[],
  shardBytes: number,
): { readonly samples: number; readonly boundBy: "bytes" | "tokens" } {
  const total = estimates.reduce((sum, e) => sum + e.weight, 0);
  const mean = (value: (e: RecordEstimate) => number) =>
    estimates.reduce((sum, e) => sum + e.weight * value(e), 0) / total;
  const byBytes = total === 0 ? Number.POSITIVE_INFINITY : shardBytes / mean((e) => e.storedBytes);
  const byTokens = total === 0 ? Number.POSITIVE_INFINITY : MAX_TOKENS_PER_SHARD / mean((e) => e.tokens);
  const samples = Math.floor(Math.min(byBytes, byTokens, MAX_RECORDS_PER_SHARD));
  return { samples: Math.max(1, samples), boundBy: byBytes <= byTokens ? "bytes" : "tokens" };
}
