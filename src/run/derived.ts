// Files for people and scripts, all derived from the commits by one function, and the only files of a run that are ever
// overwritten: per stream `metadata.json` and `checkpoints/checkpoint_worker_N.json`, and `index.json` at completion.

import { hashJson, type Json } from "../base/json.js";
import { tapOf } from "../model/hooks.js";
import type { Store } from "../store/store.js";
import type { Commit } from "./commit.js";
import type { RunFile } from "./identity.js";
import { mergeStatistics } from "./merge-statistics.js";

/** What a worker says of itself in its checkpoint file. */
export interface CheckpointContext {
  readonly datasetPath: string;
  readonly modelPath: string;
  readonly status: "running" | "preempted" | "complete";
}

/** The last record (in its stream) of the complete prefix of a stream's commits; -1 for none. */
export function completePrefix(commits: readonly Commit[]): number {
  let end = 0;
  for (const commit of [...commits].sort((a, b) => a.unit - b.unit)) {
    if (commit.records[0] !== end) break;
    end = commit.records[1];
  }
  return end - 1;
}

/** `tpu_N/metadata.json`: what is in a stream's folder. @param commits those of the stream, in order of unit. */
export function describeStream(run: RunFile, commits: readonly Commit[]): Json {
  const { identity } = run;
  const layers = layersOf(identity.taps);
  const samples = sum(commits, (c) => c.samples);
  const shards = commits.filter((c) => c.data !== null);
  const tensorNames = identity.taps;
  return {
    run: run.run,
    total_shards: shards.length,
    total_activations: samples * identity.taps.length,
    total_unique_samples: samples,
    total_records: sum(commits, (c) => c.records[1] - c.records[0]),
    total_tokens: sum(commits, (c) => c.tokens),
    shard_size_gb: shards.length === 0 ? 0 : sum(shards, (c) => c.size) / shards.length / 1e9,
    model: identity.model.family,
    hooks: [...new Set(identity.taps.map((tap) => tapOf(tap).hook))],
    layers,
    dtype: identity.dtype,
    skipped: sum(commits, (c) => c.skipped.length),
    left_out: sum(commits, (c) => c.left_out.length),
    statistics: Object.fromEntries(
      tensorNames.map((name) => [name, mergeStatistics(commits, name)]),
    ) as unknown as Json,
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
  commits: readonly Commit[],
  context: CheckpointContext,
): Json {
  const stream = run.identity.dataset.streams[workerId];
  const last = completePrefix(commits);
  const isComplete = stream !== undefined && last === stream.records - 1;
  return {
    worker_id: workerId,
    last_processed_sample_idx: last,
    total_samples_processed: sum(commits, (c) => c.records[1] - c.records[0]),
    total_shards: commits.filter((c) => c.data !== null).length,
    total_records: stream?.records ?? 0,
    dataset_path: context.datasetPath,
    model_path: context.modelPath,
    status: isComplete ? "complete" : context.status,
    run: run.run,
  };
}

/** `index.json`: the tensor list once, then for each unit what its layout follows from; `root` hashes all of it. */
export function describeIndex(run: RunFile, commits: readonly Commit[]): Json {
  const first = commits.find((c) => c.data !== null);
  const shards = commits.map((c) => ({
    stream: c.stream,
    unit: c.unit,
    data: c.data,
    size: c.size,
    sha256: c.sha256,
    records: [...c.records],
    samples: c.samples,
    rows: c.rows,
    tokens: c.tokens,
    /** Bytes from the file's start of each tensor, in the order of `tensors`. */
    offsets: Object.values(c.tensors).map((t) => t.offset),
  }));
  const tensors = Object.entries(first?.tensors ?? {}).map(([name, t]) => ({
    name,
    dtype: t.dtype,
    row_shape: t.shape.slice(1),
  }));
  const body = {
    format: "sluice-index-1",
    run: run.run,
    records: sum(commits, (c) => c.records[1] - c.records[0]),
    samples: sum(commits, (c) => c.samples),
    tokens: sum(commits, (c) => c.tokens),
    bytes: sum(commits, (c) => c.size),
    tensors,
    shards,
  };
  return { ...body, root: hashJson(body) };
}

/** Writes every derived file of the streams named. @param complete whether the whole run is, so that the index is due. */
export async function writeDerived(
  store: Store,
  run: RunFile,
  commits: readonly Commit[],
  options: {
    readonly streams: Iterable<number>;
    readonly workerId: number;
    readonly complete: boolean;
  } & CheckpointContext,
): Promise<void> {
  const byStream = new Map<number, Commit[]>();
  for (const commit of commits) {
    const others = byStream.get(commit.stream);
    if (others) others.push(commit);
    else byStream.set(commit.stream, [commit]);
  }
  const streams = new Set(options.streams);
  for (const stream of streams) {
    if (run.identity.dataset.streams[stream] === undefined) continue;
    await replaceJson(store, `tpu_${stream}/metadata.json`, describeStream(run, byStream.get(stream) ?? []));
  }
  for (const worker of streams.add(options.workerId)) {
    const checkpoint = describeCheckpoint(run, worker, byStream.get(worker) ?? [], options);
    await replaceJson(store, `checkpoints/checkpoint_worker_${worker}.json`, checkpoint);
  }
  if (options.complete) await replaceJson(store, "index.json", describeIndex(run, commits));
}

/** The layers of a list of taps, ascending, once each. */
export function layersOf(taps: readonly string[]): number[] {
  const layers = taps.map((tap) => tapOf(tap).layer).filter((layer) => layer !== null);
  return [...new Set(layers)].sort((a, b) => a - b);
}

async function replaceJson(store: Store, name: string, value: Json): Promise<void> {
  await store.replace(name, Buffer.from(`${JSON.stringify(value, null, 1)}\n`));
}

function sum<T>(items: readonly T[], value: (item: T) => number): number {
  return items.reduce((total, item) => total + value(item), 0);
}
