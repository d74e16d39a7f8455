// What reading one unit gives: its usable samples as flat typed arrays (they cross a thread boundary), and what was
// left out. It depends on the records' bytes and the run's identity only, never on the machine.

/** Bits of `token_flags`; the CLI contract fixes the values. */
export const TOKEN_FLAGS = {
  /** A special token, by id. */
  special: 1,
  bos: 2,
  eos: 4,
  /** Text that a chat template added. */
  template: 8,
  /** Words of the assistant. */
  assistant: 16,
  /** The last token of its sample. */
  last: 32,
  /** A token of a sample that was cut to the maximum length. */
  cut: 64,
} as const;

/** A record without samples, and why. Listed in the unit's commit. */
export interface Skipped {
  /** The record's index in the dataset (not in the stream). */
  readonly record: number;
  /** The record's own id, or its index as a decimal string. */
  readonly id: string;
  readonly reason: string;
}

/** The samples of one unit, in the dataset's order. All offsets have one entry more than there are samples. */
export interface UnitSamples {
  readonly count: number;
  /** i64 [count]: the record's index in the dataset. */
  readonly records: BigInt64Array;
  /** i32 [count]: window or variant; 0 where there is one. */
  readonly parts: Int32Array;
  /** i32 [tokens]: all that the model reads, sample after sample. */
  readonly inputIds: Int32Array;
  /** Where each sample's tokens begin in `inputIds`; [count + 1]. */
  readonly inputOffsets: Int32Array;
  /** u8 [tokens]: {@link TOKEN_FLAGS} of every input token. */
  readonly inputFlags: Uint8Array;
  /** Where the stretches begin that the model reads alone, in `inputIds`; one more entry for the end. The samples' own offsets, unless
   * contexts hold several documents. */
  readonly segmentOffsets: Int32Array;
  /** i32 [selected]: the places (in their sample) of the tokens that `--positions` and `--skip-special` select, ascending. */
  readonly positions: Int32Array;
  /** Where each sample's places begin in `positions`; [count + 1]. For `mean` and `max`: what is reduced. */
  readonly positionOffsets: Int32Array;
  /** One JSON object a sample: `{"id": ...}` and what else is known of it. */
  readonly infos: readonly string[];
  /** A short preview of each sample's text (at most 200 characters), for people. */
  readonly previews: readonly string[];
  /** Unusable records (counted against --max-skipped). */
  readonly skipped: readonly Skipped[];
  /** Records or samples left out by the user's own rule (too long, nothing left); listed, never an error. */
  readonly leftOut: readonly Skipped[];
  /** SHA-256 (hex) of the unit's bytes in the dataset, as checked, and of its token ids (little-endian i32, each sample preceded by its length as i32). */
  readonly unitSha256: string;
  readonly tokenSha256: string;
}

/** Reads units: seeks, reads, checks the bytes, parses, prompts, tokenizes. The slow obvious one runs in place; the usual one in a worker thread. */
export interface UnitReader {
  /**
   * @throws SluiceError `config` where the unit's bytes are not those of the run's creation (dataset edited in place): stream, unit and
   *   records are named; `data` where more records are unusable than --max-skipped allows.
   */
  read(unit: { readonly stream: number; readonly index: number }, signal?: AbortSignal): Promise<UnitSamples>;
  close(): Promise<void>;
}
