// Files for people and scripts, all derived from the commits by one function, and the only files of a run that are ever
// overwritten: per stream `metadata.json` and `checkpoints/checkpoint_worker_N.json`, and `index.json` at completion.

import { hashJson, type Json } from "../base/json.js";
import { tapOf } from "../model/hooks.js";
import { axisOf } from "../shard/index-tensors.js";
import type { Store, Stored } from "../store/store.js";
import type { Commit } from "./commit.js";
import type { RunFile } from "./identity.js";
import type { CommitSummary, FoldedStatistics, Summaries } from "./summaries.js";

/** What a worker says of itself in its checkpoint file. */
export interface CheckpointContext {
  readonly datasetPath: string;
  readonly modelPath: string;
  readonly status: "running" | "preempted" | "complete";
}

/** The last record (in its stream) of the complete prefix of a stream's commits, which are in order of unit; -1 for none. */
export function completePrefix(commits: readonly CommitSummary[]): number {
  let end = 0;
  for (const commit of commits) {
    if (commit.from !== end) break;
    end = commit.to;
  }
  return end - 1;
}

/** `tpu_N/metadata.json`: what is in a stream's folder. @param commits those of the stream, in order of unit. */
export function describeStream(
  run: RunFile,
  commits: readonly CommitSummary[],
  statistics: FoldedStatistics,
): Json {
  const { identity } = run;
  const layers = layersOf(identity.taps);
  const samples = sum(commits, (c) => c.samples);
  const shards = commits.filter((c) => c.data !== null);
  return {
    run: run.run,
    total_shards: shards.length,
    total_activations: samples * identity.taps.length,
    total_unique_samples: samples,
    total_records: sum(commits, (c) => c.to - c.from),
    total_tokens: sum(commits, (c) => c.tokens),
    shard_size_gb: shards.length === 0 ? 0 : sum(shards, (c) => c.size) / shards.length / 1e9,
    model: identity.model.family,
    hooks: [...new Set(identity.taps.map((tap) => tapOf(tap).hook))],
    layers,
    dtype: identity.dtype,
    skipped: sum(commits, (c) => c.skipped),
    left_out: sum(commits, (c) => c.leftOut),
    /** Of the stream's first records: all of them, once it is complete. */
    statistics_records: statistics.records,
    statistics: statistics.tensors as unknown as Json,
    shards: shards.map((c) => ({
      shard_id: c.unit + 1,
      filename: c.data,
      file_size_mb: c.size / 1e6,
      sha256: c.sha256,
      samples: c.samples,
      tokens: c.tokens,
      layers,
    })),
  };
}

/** `checkpoint_worker_N.json`. @param commits those of stream N; empty where the run has no such stream. */
export function describeCheckpoint(
  run: RunFile,
  workerId: number,
  commits: readonly CommitSummary[],
  context: CheckpointContext,
): Json {
  const stream = run.identity.dataset.streams[workerId];
  const last = completePrefix(commits);
  const isComplete = stream !== undefined && last === stream.records - 1;
  return {
    worker_id: workerId,
    last_processed_sample_idx: last,
    total_samples_processed: sum(commits, (c) => c.to - c.from),
    total_shards: commits.filter((c) => c.data !== null).length,
    total_records: stream?.records ?? 0,
    dataset_path: context.datasetPath,
    model_path: context.modelPath,
    status: isComplete ? "complete" : context.status,
    run: run.run,
  };
}

/**
 * `index.json`: the tensor list once, then for each unit the numbers that its layout follows from; `root` hashes all of it.
 * Tensors lie without gaps from `data_start` on, in the order of the list; the length of each one's first axis is the shard's
 * number of that name (`offsets`: samples + 1).
 * @param tensors those of any shard's commit; none for pkl.gz.
 */
export function describeIndex(
  run: RunFile,
  commits: readonly CommitSummary[],
  tensors: Commit["tensors"],
): Json {
  const body = {
    format: "sluice-index-1",
    run: run.run,
    records: sum(commits, (c) => c.to - c.from),
    samples: sum(commits, (c) => c.samples),
    tokens: sum(commits, (c) => c.tokens),
    bytes: sum(commits, (c) => c.size),
    tensors: Object.entries(tensors).map(([name, t]) => ({
      name,
      dtype: t.dtype,
      axis: axisOf(name),
      row_shape: t.shape.slice(1),
    })),
    shards: commits.map((c) => ({
      stream: c.stream,
      unit: c.unit,
      data: c.data,
      size: c.size,
      sha256: c.sha256,
      records: [c.from, c.to],
      samples: c.samples,
      rows: c.rows,
      tokens: c.tokens,
      info_bytes: c.infoBytes,
      data_start: c.dataStart,
    })),
  };
  return { ...body, root: hashJson(body) };
}

/** The name of the checkpoint of stream N and of the worker of that id. */
export function checkpointName(stream: number): string {
  return `checkpoints/checkpoint_worker_${stream}.json`;
}

/** Writes the derived files of a stream: where the run has no such stream, the checkpoint alone. @returns the checkpoint, which is written last. */
export async function writeStream(
  store: Store,
  run: RunFile,
  summaries: Summaries,
  stream: number,
  context: CheckpointContext,
): Promise<Stored> {
  const commits = summaries.of(stream);
  if (run.identity.dataset.streams[stream]) {
    const metadata = describeStream(run, commits, summaries.statistics(stream));
    await replaceJson(store, `tpu_${stream}/metadata.json`, metadata);
  }
  return replaceJson(store, checkpointName(stream), describeCheckpoint(run, stream, commits, context));
}

/** Writes `index.json` of a complete run. */
export async function writeIndex(
  store: Store,
  run: RunFile,
  summaries: Summaries,
  tensors: Commit["tensors"],
): Promise<void> {
  await replaceJson(store, "index.json", describeIndex(run, [...summaries.all()], tensors));
}

/** The layers of a list of taps, ascending, once each. */
export function layersOf(taps: readonly string[]): number[] {
  const layers = taps.map((tap) => tapOf(tap).layer).filter((layer) => layer !== null);
  return [...new Set(layers)].sort((a, b) => a - b);
}

async function replaceJson(store: Store, name: string, value: Json): Promise<Stored> {
  return store.replace(name, Buffer.from(`${JSON.stringify(value, null, 1)}\n`));
}

function sum<T>(items: readonly T[], value: (item: T) => number): number {
  return items.reduce((total, item) => total + value(item), 0);
}
