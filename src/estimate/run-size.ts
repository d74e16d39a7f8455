// How large a run will be, from a sample of its records: rows x bytes of all tensors, the index tensors, and what stands
// beside each shard. Pure arithmetic, so that it is known before anything is computed; the test holds it to real runs.

import { unitCount } from "../plan/unit.js";

/** What one sampled record will give. */
export interface RecordSize {
  /** How many records it stands for, relatively. */
  readonly weight: number;
  /** Bytes of its line in the dataset. */
  readonly bytes: number;
  /** 0 where it is skipped or left out. */
  readonly samples: number;
  /** Tokens that the model reads, and rows that are stored of each tensor. */
  readonly tokens: number;
  readonly rows: number;
  /** Bytes of its samples' `sample_info`, and of their text previews. */
  readonly infoBytes: number;
  readonly previewBytes: number;
}

/** What of a run decides its size, besides its records. */
export interface RunShape {
  readonly format: "safetensors" | "pkl.gz";
  /** Activation tensors, and bytes of one row of all of them, as stored. */
  readonly tensors: number;
  readonly rowBytes: number;
  /** Of a pkl.gz shard: the share of the pickle that is left after compression. */
  readonly compressedShare: number;
  readonly samplesPerShard: number;
}

/** What a run is expected to hold; `record.expected` of `run.json`. */
export interface ExpectedRun {
  readonly records: number;
  readonly samples: number;
  readonly tokens: number;
  readonly shards: number;
  /** Shards, commits and derived files together. */
  readonly bytes: number;
}

/** sample_offsets, sample_ids, input_offsets and sample_info_offsets of 8 bytes each, sample_parts of 4. */
const INDEX_BYTES_PER_SAMPLE = 36;
/** token_ids and positions of 4 bytes each, token_flags of 1. */
const INDEX_BYTES_PER_ROW = 9;
const INPUT_BYTES_PER_TOKEN = 4;
/** Opcodes and names of one array in the pickle. */
const PICKLE_BYTES_PER_ARRAY = 190;
/** Header, commit, lines of index.json and metadata.json: of a shard, and of each tensor in it. Measured. */
const BESIDE_SHARD = 4_200;
const BESIDE_TENSOR = 620;

/** Bytes that a record takes in a shard, before any compression. */
export function storedBytes(record: RecordSize, shape: RunShape): number {
  const { samples, rows, tokens, infoBytes, previewBytes } = record;
  if (shape.format === "pkl.gz")
    return (
      rows * shape.rowBytes + samples * shape.tensors * PICKLE_BYTES_PER_ARRAY + previewBytes * shape.tensors
    );
  const index =
    samples * INDEX_BYTES_PER_SAMPLE + rows * INDEX_BYTES_PER_ROW + tokens * INPUT_BYTES_PER_TOKEN;
  return rows * shape.rowBytes + index + infoBytes;
}

/**
 * The size of a run.
 * @param sample weighted; empty where the dataset has no record. @param records of the whole dataset, @param streams in so many streams.
 */
export function estimateRun(
  sample: readonly RecordSize[],
  shape: RunShape,
  records: number,
  streams: number,
): ExpectedRun {
  const total = sum(sample, (r) => r.weight);
  const mean = (value: (r: RecordSize) => number) =>
    total === 0 ? 0 : sum(sample, (r) => r.weight * value(r)) / total;
  const perStream = Math.ceil(records / streams);
  const shards = unitCount(perStream, shape.samplesPerShard) * Math.min(streams, Math.max(1, records));
  const data = records * mean((r) => storedBytes(r, shape)) * shape.compressedShare;
  return {
    records,
    samples: Math.round(records * mean((r) => r.samples)),
    tokens: Math.round(records * mean((r) => r.tokens)),
    shards,
    bytes: Math.round(data + shards * (BESIDE_SHARD + BESIDE_TENSOR * shape.tensors)),
  };
}

/** About how many records so many bytes of dataset hold. @param maxRecords where it is cut. */
export function guessRecords(sample: readonly RecordSize[], bytes: number, maxRecords = Infinity): number {
  const total = sum(sample, (r) => r.weight);
  if (total === 0) return 0;
  const mean = sum(sample, (r) => r.weight * r.bytes) / total;
  return Math.min(maxRecords, Math.round(bytes / mean));
}

/** The bytes still to come of a run of which so many units have a commit. */
export function remainingBytes(expected: ExpectedRun, committed: number, units: number): number {
  return units === 0 ? 0 : Math.round((expected.bytes * (units - Math.min(units, committed))) / units);
}

function sum<T>(items: readonly T[], value: (item: T) => number): number {
  return items.reduce((total, item) => total + value(item), 0);
}
