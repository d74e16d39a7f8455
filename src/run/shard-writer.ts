// From a unit's samples to its commit: the shard is laid out, its fixed bytes are written to a spool file, the engine
// fills in the rows, the file is hashed, becomes the data object, and then the commit names it.

import { type Clock, realClock } from "../base/clock.js";
import { isSluiceError, SluiceError, systemCode } from "../base/errors.js";
import type { UnitSamples } from "../data/samples.js";
import type { Execution } from "../engine/engine.js";
import { type BatchLimits, batchesOf } from "../plan/batches.js";
import { type Unit, unitName } from "../plan/unit.js";
import type { ActivationSpec, IndexTensor, ShardFormat, ShardLayout } from "../shard/format.js";
import type { FileHash, FileHasher } from "../shard/hash.js";
import { indexTensors } from "../shard/index-tensors.js";
import type { Store } from "../store/store.js";
import { checkComputed, checkLaidOut } from "./check-shard.js";
import type { Commit, NonFiniteEntry } from "./commit.js";
import type { UnitResult } from "./compute-unit.js";
import { type CreatedData, createData, type FinishedData } from "./create-data.js";
import type { UnitRunner } from "./engine-process.js";
import type { FinishedMark } from "./finished-shards.js";
import type { WorkerIdentity } from "./heartbeat.js";
import type { RunFile } from "./identity.js";
import type { LikeRun } from "./like.js";
import { type CommitLog, commitName } from "./log.js";
import { segmentInput } from "./segments.js";
import type { Spool } from "./spool.js";

/** What a shard writer needs to know of the run and of this worker. */
export interface ShardWriterOptions {
  readonly run: RunFile;
  readonly store: Store;
  readonly log: CommitLog;
  readonly spool: Spool;
  readonly hasher: FileHasher;
  readonly format: ShardFormat;
  readonly activations: readonly ActivationSpec[];
  readonly selection: "rows" | "mean" | "max";
  readonly limits: BatchLimits;
  readonly worker: WorkerIdentity;
  /** The run that this one is to be like. */
  readonly like?: LikeRun | null;
  /** Awaited before anything is stored: the weights' hash has been found to be the run's. */
  readonly ready: Promise<void>;
  readonly clock?: Clock;
}

/** A unit whose data lies in the spool, complete. */
export interface SpooledUnit {
  /** Null where the unit has no usable sample. */
  readonly file: string | null;
  readonly layout: ShardLayout | null;
  /** As they are to be in the file. */
  readonly index: readonly IndexTensor[];
  readonly result: UnitResult | null;
  readonly execution: Execution;
  readonly started: string;
  /** What is known of a shard that another worker has left finished: it needs only to be stored. */
  readonly finished?: FinishedMark;
}

/** Writes shards and their commits. */
export class ShardWriter {
  readonly #o: ShardWriterOptions;
  readonly #clock: Clock;

  constructor(options: ShardWriterOptions) {
    this.#o = options;
    this.#clock = options.clock ?? realClock;
  }

  /** Computes the unit into a spool file. The file is removed where that fails. */
  async spool(
    unit: Unit,
    samples: UnitSamples,
    runner: UnitRunner,
    onProgress: (tokens: number) => void,
  ): Promise<SpooledUnit> {
    const { spool, limits, selection } = this.#o;
    const started = this.#clock.date().toISOString();
    const index = indexTensors(samples, selection);
    await this.#o.like?.checkUnit(unit, samples, index);
    const left = await this.#takeFinished(unit, samples);
    if (left) return { ...left, layout: null, index, result: null, execution: {}, started };
    const execution = { ...(await runner.start()), ...limitsOf(limits) };
    if (samples.count === 0) return { file: null, layout: null, index, result: null, execution, started };
    const layout = this.#layOut(unit, samples, index);
    const file = await spool.create(layout);
    try {
      const activations = this.#o.activations.map(({ name, rowShape, dtype }) => ({
        name,
        width: rowShape.reduce((product, size) => product * size, 1),
        dtype,
      }));
      const input = segmentInput(samples, activations, layout.places);
      const job = {
        ...input,
        batches: batchesOf(lengthsOf(input.inputOffsets), limits),
        reduced: selection !== "rows",
        activations,
      };
      const result = await runner.compute(job, file, onProgress);
      checkComputed(unit, result, activations, this.#rowsOf(samples));
      return { file, layout, index, result, execution, started };
    } catch (error) {
      await spool.remove(file);
      throw nameBug(await this.#explain(error), unit);
    }
  }

  /**
   * Stores a spooled unit: data, then commit.
   * @param how.repair the unit has a commit whose data is missing: the data is made again where the bytes are the committed ones.
   * @param how.signal ends it; a finished shard is left for the next worker of this machine.
   * @returns the commit, or null where somebody else's stands.
   */
  async store(
    unit: Unit,
    samples: UnitSamples,
    spooled: SpooledUnit,
    how: { readonly attempt: string; readonly repair: boolean; readonly signal?: AbortSignal },
  ): Promise<Commit | null> {
    const { log, store, spool } = this.#o;
    const { signal } = how;
    let file = spooled.file;
    let outlives = false;
    try {
      const onMade = (made: string) => {
        file = made;
      };
      const { data, draft } = await this.#finish(unit, samples, spooled, onMade, signal);
      // Before anything is stored: data of another model would take the names of this one's.
      await this.#o.ready;
      if (data && !spooled.finished) await spool.markFinished(data.file, markOf(unit, data, draft));
      const committed = how.repair ? await log.read(unit) : null;
      const created = data && (await createData(store, unit, data, committed, signal));
      if (committed) return null;
      const commit = completeCommit(draft, created, how.attempt, this.#clock.date());
      return (await log.commit(unit, commit)) === "committed" ? commit : null;
    } catch (error) {
      outlives = signal?.aborted === true;
      if (outlives) throw error;
      const explained = await this.#explain(error);
      outlives = isSluiceError(explained, "store"); // The next worker of this machine may reach it again.
      throw explained;
    } finally {
      if (file !== null && !(outlives && spool.isFinished(file))) await spool.remove(file);
    }
  }

  /** Hashes a spooled unit, compresses it where its format does, and says all that its commit will say but where the data is. */
  async #finish(
    unit: Unit,
    samples: UnitSamples,
    spooled: SpooledUnit,
    onMade: (file: string) => void,
    signal: AbortSignal | undefined,
  ): Promise<{ readonly data: FinishedData | null; readonly draft: Commit }> {
    const { format, spool, hasher, run } = this.#o;
    const { file, finished } = spooled;
    const { compression, extension } = format;
    if (file !== null && finished) {
      const compressed = compression && finished.compressed && { compression, ...finished.compressed };
      const hash = { ...finished.hash, tensors: [] };
      return {
        data: { file, hash, extension, ...(compressed && { compressed }) },
        draft: finished.commit,
      };
    }
    const laidOut = file === null ? null : await hasher.hash(file, spooled.layout?.tensors ?? [], signal);
    if (spooled.layout && laidOut) checkLaidOut(unit, spooled.layout, laidOut, spooled.index);
    const draft = this.#describe(unit, samples, spooled, laidOut);
    if (file === null || !laidOut) return { data: null, draft };
    if (!compression) return { data: { file, hash: laidOut, extension }, draft };
    const target = spool.compressedName(file);
    const comment = `sluice run ${run.run} unit ${unitName(unit)} size ${laidOut.size} sha256 ${laidOut.sha256}`;
    onMade(target);
    await compression.compress(file, target, comment, signal);
    await spool.remove(file);
    const compressed = { compression, comment, sha256: laidOut.sha256 };
    const hash = await hasher.hash(target, [], signal);
    return { data: { file: target, hash, extension, compressed }, draft };
  }

  /** What another worker has left finished of the unit, every byte checked; null where that is nothing, or of no use. */
  async #takeFinished(
    unit: Unit,
    samples: UnitSamples,
  ): Promise<{ readonly file: string; readonly finished: FinishedMark } | null> {
    const { spool, hasher, run, format } = this.#o;
    const taken = await spool.takeFinished(unitName(unit));
    if (!taken) return null;
    const { file, mark } = taken;
    const { commit, compressed } = mark;
    const isOfUnit =
      commit.run === run.run &&
      commit.stream === unit.stream &&
      commit.unit === unit.index &&
      commit.unit_sha256 === samples.unitSha256 &&
      commit.token_sha256 === samples.tokenSha256 &&
      (compressed !== null) === (format.compression !== undefined);
    const found = isOfUnit ? await hasher.hash(file, []).catch(() => null) : null;
    const { size, sha256, crc32c } = mark.hash;
    if (found?.size === size && found.sha256 === sha256 && found.crc32c === crc32c)
      return { file, finished: mark };
    await spool.remove(file);
    return null;
  }

  /** A spool file that vanishes, or an engine that cannot open it, may mean that the whole run was deleted under this worker. A full disk is said to be one. */
  async #explain(error: unknown): Promise<unknown> {
    if (isSluiceError(error)) return error;
    try {
      await this.#o.log.confirmRun();
    } catch (changed) {
      return changed;
    }
    if (systemCode(error) !== "ENOENT") return this.#o.spool.explain(error);
    const fix = "Leave the spool folder alone while workers run, and start again.";
    return new SluiceError("store", `a spool file in ${this.#o.spool.folder} vanished`, {
      fix,
      cause: error,
    });
  }

  /** Removes whatever spool files this worker still has. */
  async dropAll(): Promise<void> {
    await this.#o.spool.removeAll();
  }

  #rowsOf(samples: UnitSamples): number {
    return this.#o.selection === "rows" ? samples.positions.length : samples.count;
  }

  #layOut(unit: Unit, samples: UnitSamples, index: readonly IndexTensor[]): ShardLayout {
    const { run, format, activations, selection } = this.#o;
    const { identity } = run;
    return format.layout({
      activations,
      rowOffsets: rowOffsetsOf(samples, selection !== "rows"),
      index,
      sampleIds: samples.records,
      previews: samples.previews,
      metadata: {
        format: "sluice-shard-1",
        run: run.run,
        stream: String(unit.stream),
        unit: String(unit.index),
        record_range: `${unit.from}-${unit.to}`,
        unit_sha256: samples.unitSha256,
        token_sha256: samples.tokenSha256,
        model: identity.model.family,
        compute_dtype: identity.compute_dtype,
      },
    });
  }

  #describe(unit: Unit, samples: UnitSamples, spooled: SpooledUnit, laidOut: FileHash | null): Commit {
    const { run, worker, activations } = this.#o;
    const { layout, result } = spooled;
    const tensors = (layout?.tensors ?? []).map((tensor, i) => {
      const crc32c = laidOut?.tensors[i];
      if (crc32c === undefined)
        throw new SluiceError("bug", `no checksum of ${tensor.name} in ${commitName(unit)}`);
      return [
        tensor.name,
        {
          dtype: tensor.dtype,
          shape: [...tensor.shape],
          offset: tensor.offset,
          length: tensor.length,
          crc32c,
        },
      ];
    });
    return {
      format: "sluice-commit-1",
      run: run.run,
      stream: unit.stream,
      unit: unit.index,
      data: null,
      size: 0,
      sha256: null,
      crc32c: null,
      records: [unit.from, unit.to],
      samples: samples.count,
      rows: this.#rowsOf(samples),
      tokens: samples.inputIds.length,
      tokens_computed: result?.tokensComputed ?? 0,
      unit_sha256: samples.unitSha256,
      token_sha256: samples.tokenSha256,
      skipped: [...samples.skipped],
      left_out: [...samples.leftOut],
      tensors: Object.fromEntries(tensors),
      statistics: Object.fromEntries(
        activations.flatMap(({ name }, i) => entryOf(name, result?.statistics[i])),
      ),
      ...nonFiniteOf(samples, activations, result),
      execution: { ...spooled.execution },
      by: {
        attempt: "",
        worker: worker.uuid,
        worker_id: worker.workerId,
        started: spooled.started,
        finished: this.#clock.date().toISOString(),
        forward_seconds: result?.forwardSeconds ?? 0,
        seconds: result?.seconds ?? 0,
      },
    };
  }
}

/** A commit of which all is known but where its data is, and who tried to store it. */
function completeCommit(draft: Commit, data: CreatedData | null, attempt: string, finished: Date): Commit {
  return {
    ...draft,
    data: data?.name ?? null,
    size: data?.hash.size ?? 0,
    sha256: data?.hash.sha256 ?? null,
    crc32c: data?.hash.crc32c ?? null,
    by: { ...draft.by, attempt, finished: finished.toISOString() },
  };
}

function markOf(unit: Unit, { hash, compressed }: FinishedData, commit: Commit): FinishedMark {
  const { size, sha256, crc32c } = hash;
  return {
    unit: unitName(unit),
    hash: { size, sha256, crc32c },
    compressed: compressed ? { comment: compressed.comment, sha256: compressed.sha256 } : null,
    commit,
  };
}

/** Rows before each sample's own, [samples + 1]. */
export function rowOffsetsOf(samples: UnitSamples, reduced: boolean): Int32Array {
  return reduced ? Int32Array.from({ length: samples.count + 1 }, (_, i) => i) : samples.positionOffsets;
}

/** The batch limits as a commit records them: equal execution means equal batches. */
function limitsOf(limits: BatchLimits): Execution {
  return { batch_tokens: limits.maxTokens, batch_samples: limits.maxSamples, batch_bytes: limits.maxBytes };
}

/** Names the unit in an error that the engine's process knows only by its samples. */
function nameBug(error: unknown, unit: Unit): unknown {
  if (!isSluiceError(error, "bug") || error.message.includes(unitName(unit))) return error;
  return new SluiceError("bug", `${unitName(unit)}: ${error.message}`, { cause: error });
}

/** The member `non_finite` of a commit, where there is any such value. */
function nonFiniteOf(
  { records, parts }: UnitSamples,
  activations: readonly ActivationSpec[],
  result: UnitResult | null,
): Pick<Commit, "non_finite"> {
  const entries = activations.flatMap(({ name }, i): [string, NonFiniteEntry][] => {
    const found = result?.nonFinite[i];
    if (!found) return [];
    const first = found.first.map(({ sample, nan, inf }) => ({
      record: Number(records[sample]),
      part: parts[sample] ?? 0,
      nan,
      inf,
    }));
    return [[name, { samples: found.samples, first }]];
  });
  return entries.length === 0 ? {} : { non_finite: Object.fromEntries(entries) };
}

function entryOf<T>(name: string, value: T | undefined): [string, T][] {
  return value === undefined ? [] : [[name, value]];
}

function lengthsOf(offsets: Int32Array): number[] {
  return Array.from({ length: offsets.length - 1 }, (_, i) => (offsets[i + 1] ?? 0) - (offsets[i] ?? 0));
}
