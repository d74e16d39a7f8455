// One unit through the model: its batches one after the other, each row written to its final place in the shard. It runs
// in the engine's child process, where blocking is allowed; tests run it in place.

import { bytesOf, type FloatDType } from "../base/dtype.js";
import type { LoadedModel, TapOutput, TokenBatch } from "../engine/engine.js";
import type { Batch } from "../plan/batches.js";
import { encodeRows } from "../shard/encode.js";
import { Statistics } from "../shard/statistics.js";
import type { StatisticsEntry } from "./commit.js";

/** A unit as the engine's process needs it. Plain data: it crosses a process boundary. Offsets have samples + 1 entries. */
export interface UnitJob {
  /** i32: token ids of all samples, and where each sample's begin. */
  readonly inputIds: Int32Array;
  readonly inputOffsets: Int32Array;
  /** i32: selected places in each sample, and where each sample's begin. */
  readonly positions: Int32Array;
  readonly positionOffsets: Int32Array;
  readonly batches: readonly Batch[];
  /** One row a sample (`mean`, `max`) instead of one a selected place. */
  readonly reduced: boolean;
  /** In the order of the graph's taps. */
  readonly activations: readonly {
    readonly name: string;
    readonly width: number;
    readonly dtype: FloatDType;
  }[];
  /** Bytes from the file's start of the rows of sample s of activation a: places[a * samples + s]. */
  readonly places: Float64Array;
}

/** What computing a unit gave, besides the bytes. */
export interface UnitResult {
  /** In the order of the job's activations. */
  readonly statistics: readonly StatisticsEntry[];
  /** Tokens computed, padding included. */
  readonly tokensComputed: number;
  /** Seconds inside the engine's forward passes, and in all. */
  readonly forwardSeconds: number;
  readonly seconds: number;
}

/** Writes bytes at an offset of the spool file. */
export type WriteAt = (bytes: Uint8Array, offset: number) => void | Promise<void>;

/**
 * Computes all batches of a unit.
 * @param onProgress gets the tokens read by the model so far (without padding), after each batch.
 * @throws whatever the engine raises, and an Error where an output has not the rows or width asked for.
 */
export async function computeUnit(
  model: LoadedModel,
  job: UnitJob,
  write: WriteAt,
  onProgress?: (tokens: number) => void,
): Promise<UnitResult> {
  const started = performance.now();
  const statistics = job.activations.map(() => new Statistics());
  let forward = 0;
  let tokens = 0;
  let tokensComputed = 0;
  for (const batch of job.batches) {
    const input = tokenBatch(job, batch);
    const before = performance.now();
    const outputs = await model.run(input);
    forward += performance.now() - before;
    for (const [a, activation] of job.activations.entries()) {
      const rows = checkOutput(outputs[a], activation, job.reduced ? input.samples : input.rows.length);
      const encoded = encodeRows(rows.data, rows.dtype, activation.dtype);
      statistics[a]?.update(encoded.data, activation.dtype, activation.width, encoded.overflow);
      await writeSamples(job, batch, a, encoded.data, activation.width * bytesOf(activation.dtype), write);
    }
    tokensComputed += batch.samples.length * batch.length;
    for (const s of batch.samples) tokens += lengthOf(job.inputOffsets, s);
    onProgress?.(tokens);
  }
  return {
    statistics: statistics.map((s) => s.toJSON()),
    tokensComputed,
    forwardSeconds: forward / 1000,
    seconds: (performance.now() - started) / 1000,
  };
}

/** The engine's input for one batch: samples padded on the right with token 0. */
export function tokenBatch(job: UnitJob, batch: Batch): TokenBatch {
  const { length } = batch;
  const samples = batch.samples.length;
  const tokens = new Int32Array(samples * length);
  const lengths = new Int32Array(samples);
  const rows = new Int32Array(batch.samples.reduce((sum, s) => sum + lengthOf(job.positionOffsets, s), 0));
  let row = 0;
  for (const [i, s] of batch.samples.entries()) {
    const ids = slice(job.inputIds, job.inputOffsets, s);
    tokens.set(ids, i * length);
    lengths[i] = ids.length;
    for (const position of slice(job.positions, job.positionOffsets, s)) rows[row++] = i * length + position;
  }
  return { samples, length, tokens, lengths, rows };
}

async function writeSamples(
  job: UnitJob,
  batch: Batch,
  activation: number,
  data: Uint8Array,
  rowBytes: number,
  write: WriteAt,
): Promise<void> {
  const samples = job.inputOffsets.length - 1;
  let from = 0;
  for (const s of batch.samples) {
    const rows = job.reduced ? 1 : lengthOf(job.positionOffsets, s);
    const to = from + rows * rowBytes;
    const place = job.places[activation * samples + s];
    if (place === undefined) throw new Error(`no place for sample ${s} of activation ${activation}`);
    if (to > from) await write(data.subarray(from, to), place);
    from = to;
  }
}

function checkOutput(
  output: TapOutput | undefined,
  wanted: { name: string; width: number },
  rows: number,
): TapOutput {
  if (!output || output.name !== wanted.name)
    throw new Error(`the engine gave ${output?.name} for ${wanted.name}`);
  if (output.rows === rows && output.width === wanted.width) return output;
  throw new Error(
    `the engine gave ${output.rows} x ${output.width} values for ${wanted.name}, expected ${rows} x ${wanted.width}`,
  );
}

function lengthOf(offsets: Int32Array, i: number): number {
  return (offsets[i + 1] ?? 0) - (offsets[i] ?? 0);
}

function slice(values: Int32Array, offsets: Int32Array, i: number): Int32Array {
  return values.subarray(offsets[i], offsets[i + 1]);
}
