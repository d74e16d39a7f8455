// From the lengths of a unit's samples to batches: pure, for one choice of limits, so that every machine and every
// attempt computes the same batches.

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
}

/** Samples that are computed together, padded on the right to `length`. */
export interface Batch {
  /** Indices into the unit's samples, ascending. */
  readonly samples: readonly number[];
  /** The longest sample's length in tokens. */
  readonly length: number;
}
