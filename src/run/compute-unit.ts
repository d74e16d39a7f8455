// One unit through the model: its batches one after the other, each row written to its final place in the shard. It runs
// in the engine's child process, where blocking is allowed; tests run it in place. An engine or a plan that leaves out a
// row, or gives one twice, is a bug that must not become a shard.

import { bytesOf, type FloatDType } from "../base/dtype.js";
import { SluiceError } from "../base/errors.js";
import type { LoadedModel, TapOutput, TokenBatch } from "../engine/engine.js";
import type { Batch } from "../plan/batches.js";
import type { NonFiniteSummary } from "../shard/non-finite.js";
import { ActivationRows } from "./activation-rows.js";
import type { StatisticsEntry } from "./commit.js";

/** A unit as the engine's process needs it. Plain data: it crosses a process boundary. Offsets have samples + 1 entries. */
export interface UnitJob {
  /** i32: token ids of all samples, and where each sample's begin. */
  readonly inputIds: Int32Array;
  readonly inputOffsets: Int32Array;
  /** i32: selected places in each sample, and where each sample's begin. */
  readonly positions: Int32Array;
  readonly positionOffsets: Int32Array;
  /** Which of the unit's samples each of these is, or is a piece of. */
  readonly owners: Int32Array;
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
  /** In the same order: which of the unit's samples have values that are not finite; null for none. */
  readonly nonFinite: readonly (NonFiniteSummary | null)[];
  /** Tokens computed, padding included. */
  readonly tokensComputed: number;
  /** Seconds of waiting for the engine's forward passes, and in all. */
  readonly forwardSeconds: number;
  readonly seconds: number;
}

/** Writes bytes at an offset of the spool file. */
export type WriteAt = (bytes: Uint8Array, offset: number) => void | Promise<void>;

/**
 * Computes all batches of a unit.
 * @param onProgress gets the tokens read by the model so far (without padding), after each batch.
 * @throws whatever the engine raises, and SluiceError `bug` where an output has not the rows or width asked for, or a sample's rows
 *   were not written exactly once.
 */
export async function computeUnit(
  model: LoadedModel,
  job: UnitJob,
  write: WriteAt,
  onProgress?: (tokens: number) => void,
): Promise<UnitResult> {
  const started = performance.now();
  const stored = job.activations.map((_, a) => new ActivationRows(job, a, write));
  const written = new Written(job);
  let forward = 0;
  let tokens = 0;
  let tokensComputed = 0;
  for await (const { batch, input, outputs, waited } of runBatches(model, job)) {
    forward += waited;
    for (const [a, rows] of stored.entries()) {
      await rows.add(batch, checkOutput(outputs[a], job, a, job.reduced ? input.samples : input.rows.length));
      written.add(a, batch);
    }
    tokensComputed += batch.computed;
    for (const s of batch.samples) tokens += lengthOf(job.inputOffsets, s);
    onProgress?.(tokens);
  }
  written.refuseMissing();
  return {
    statistics: stored.map(({ statistics }) => statistics.toJSON()),
    nonFinite: stored.map(({ nonFinite }) => nonFinite.toJSON()),
    tokensComputed,
    forwardSeconds: forward / 1000,
    seconds: (performance.now() - started) / 1000,
  };
}

interface BatchResult {
  readonly batch: Batch;
  readonly input: TokenBatch;
  readonly outputs: readonly TapOutput[];
  /** Milliseconds. */
  readonly waited: number;
}

/** The results of the batches in their order. Engines that can are given the next batches while the last one's rows are written. */
async function* runBatches(model: LoadedModel, job: UnitJob): AsyncGenerator<BatchResult> {
  const { ahead = 0 } = model;
  const asked: { batch: Batch; input: TokenBatch; result: Promise<readonly TapOutput[]> }[] = [];
  let next = 0;
  try {
    while (next < job.batches.length || asked.length > 0) {
      const before = performance.now();
      for (; asked.length <= ahead; next++) {
        const batch = job.batches[next];
        if (!batch) break;
        const input = tokenBatch(job, batch);
        asked.push({ batch, input, result: model.run(input) });
        asked.at(-1)?.result.catch(() => {}); // Raised when it is its turn.
      }
      const first = asked.shift();
      if (!first) return;
      const outputs = await first.result;
      yield { batch: first.batch, input: first.input, outputs, waited: performance.now() - before };
    }
  } finally {
    await Promise.allSettled(asked.map(({ result }) => result));
  }
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

/** Which rows have been written: those of each activation and sample, once. */
class Written {
  readonly #job: UnitJob;
  readonly #marks: Uint8Array;

  constructor(job: UnitJob) {
    this.#job = job;
    this.#marks = new Uint8Array(job.activations.length * job.owners.length);
  }

  /** @throws SluiceError `bug` where a sample of the batch had been written. */
  add(activation: number, batch: Batch): void {
    for (const s of batch.samples) {
      const at = activation * this.#job.owners.length + s;
      if (this.#marks[at] !== 0) throw this.#bug(at, "were computed twice");
      this.#marks[at] = 1;
    }
  }

  /** @throws SluiceError `bug` where a sample has not been written. */
  refuseMissing(): void {
    const at = this.#marks.indexOf(0);
    if (at >= 0) throw this.#bug(at, "were not computed");
  }

  #bug(at: number, what: string): SluiceError {
    const { activations, owners } = this.#job;
    const name = activations[Math.floor(at / owners.length)]?.name;
    return new SluiceError("bug", `the rows of sample ${owners[at % owners.length]} of ${name} ${what}`);
  }
}

function checkOutput(output: TapOutput | undefined, job: UnitJob, a: number, rows: number): TapOutput {
  const { name, width = 0 } = job.activations[a] ?? {};
  if (!output || output.name !== name)
    throw new SluiceError("bug", `the engine gave ${output?.name} for ${name}`);
  const bytes = rows * width * bytesOf(output.dtype);
  if (output.rows === rows && output.width === width && output.data.length === bytes) return output;
  throw new SluiceError(
    "bug",
    `the engine gave ${output.rows} x ${output.width} values for ${name} in ${output.data.length} bytes, expected ${rows} x ${width} in ${bytes}`,
  );
}

function lengthOf(offsets: Int32Array, i: number): number {
  return (offsets[i + 1] ?? 0) - (offsets[i] ?? 0);
}

function slice(values: Int32Array, offsets: Int32Array, i: number): Int32Array {
  return values.subarray(offsets[i], offsets[i + 1]);
}
