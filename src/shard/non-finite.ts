// Where NaN and infinite values are, by sample: a model that overflows in one layer should be caught by name, not only
// counted. Bounded: how many samples, and the first few of them in the shard's order, whatever the order of the batches.

/** Samples named of each tensor of a shard. */
export const NAMED_SAMPLES = 4;

/** One sample's values that are not finite, in one tensor. */
export interface NonFiniteSample {
  /** The sample's number in its unit. */
  readonly sample: number;
  readonly nan: number;
  readonly inf: number;
}

/** One tensor's samples with values that are not finite. */
export interface NonFiniteSummary {
  readonly samples: number;
  /** The first of them, ascending. */
  readonly first: readonly NonFiniteSample[];
}

/** Collects what is not finite in one tensor. */
export class NonFinite {
  readonly #first: NonFiniteSample[] = [];
  /** 1 where the sample has such a value; made with the first. */
  #marks: Uint8Array | undefined;
  #samples = 0;

  /** Adds a row's values. @param samples how many the unit has. */
  add(sample: number, samples: number, nan: number, inf: number): void {
    this.#marks ??= new Uint8Array(samples);
    if (this.#marks[sample] === 0) {
      this.#marks[sample] = 1;
      this.#samples += 1;
    }
    // A sample that is pushed out has enough lower ones before it, which stay: it never comes back.
    const at = this.#first.findIndex((f) => f.sample >= sample);
    const found = this.#first[at];
    if (found?.sample === sample) this.#first[at] = { sample, nan: found.nan + nan, inf: found.inf + inf };
    else this.#first.splice(at < 0 ? this.#first.length : at, 0, { sample, nan, inf });
    this.#first.length = Math.min(this.#first.length, NAMED_SAMPLES);
  }

  /** Null where every value is finite. */
  toJSON(): NonFiniteSummary | null {
    return this.#samples === 0 ? null : { samples: this.#samples, first: [...this.#first] };
  }
}
