// Files for people and scripts, all derived from the commits by one function, and the only files of a run that are ever
// overwritten: per stream `metadata.json` and `checkpoints/checkpoint_worker_N.json`, and `index.json` at completion.

import { z } from "zod";
import { hashJson, type Json } from "../base/json.js";
import { mapAhead } from "../base/read-ahead.js";
import { tapOf } from "../model/hooks.js";
import { axisOf } from "../shard/index-tensors.js";
import type { Store, Stored } from "../store/store.js";
import type { Commit } from "./commit.js";
import type { RunFile } from "./identity.js";
import type { CommitLog, DescribedCommit } from "./log.js";
import {
  type CommitSummary,
  commitSummarySchema,
  type FoldedStatistics,
  type Summaries,
} from "./summaries.js";

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

const count = z.number().int().nonnegative();
const describedSchema = z.object({
  run: z.string(),
  commits: z.array(commitSummarySchema.extend({ version: z.string() })),
});

function describedName(stream: number): string {
  return `tpu_${stream}/commits.json`;
}

/** Writes `tpu_N/commits.json`: the commits of a complete stream in short, so that the index of a large run takes one read a stream. */
export async function writeDescribed(
  store: Store,
  run: RunFile,
  stream: number,
  commits: readonly DescribedCommit[],
): Promise<void> {
  const body = Buffer.from(`${JSON.stringify({ run: run.run, commits })}\n`);
  await store.replace(describedName(stream), body);
}

/** A commit in short takes about 400 bytes, a shard in metadata.json more where there are many layers. */
const MOST_SUMMARY_BYTES = 4096;
const FILES_AT_ONCE = 32;

/**
 * The streams of which some commits have not been read, and whose derived file of that name is there and no larger than it can be: what
 * a stranger has put there is not read. The log has just been listed.
 */
export function listDescribed(log: CommitLog, file: string): number[] {
  return [...log.unitCounts.entries()].flatMap(([stream, units]) => {
    const size = log.listedSize(`tpu_${stream}/${file}`) ?? Number.POSITIVE_INFINITY;
    return size <= MOST_SUMMARY_BYTES * (units + 256) && log.countUnread(stream) > 1 ? [stream] : [];
  });
}

/** Takes what `commits.json` says for the commits themselves, where it may be believed; the log has just been listed. */
export async function trustDescribed(
  store: Store,
  run: RunFile,
  log: CommitLog,
  signal?: AbortSignal,
): Promise<void> {
  const read = (stream: number) => readDescribed(store, run, stream);
  const streams = listDescribed(log, "commits.json");
  for await (const described of mapAhead(streams, FILES_AT_ONCE, read, signal)) log.trust(described);
}

/** What {@link writeDescribed} wrote; none where there is nothing of use. Only where versions are those of the commits there may it be believed. */
async function readDescribed(store: Store, run: RunFile, stream: number): Promise<DescribedCommit[]> {
  try {
    const bytes = await store.read(describedName(stream));
    const described = describedSchema.parse(JSON.parse(Buffer.from(bytes).toString("utf8")));
    return described.run === run.run ? described.commits.filter((commit) => commit.stream === stream) : [];
  } catch {
    return [];
  }
}

const metadataSchema = z.object({
  run: z.string(),
  shards: z.array(
    z.object({ shard_id: count.positive(), filename: z.string(), samples: count, tokens: count }),
  ),
});

/** The shards as a `tpu_N/metadata.json` of that run says; none where it is no such thing. */
export function decodeMetadata(bytes: Uint8Array, run: string): z.infer<typeof metadataSchema>["shards"] {
  try {
    const metadata = metadataSchema.parse(JSON.parse(Buffer.from(bytes).toString("utf8")));
    return metadata.run === run ? metadata.shards : [];
  } catch {
    return [];
  }
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

const indexSchema = z.object({
  format: z.literal("sluice-index-1"),
  run: z.string(),
  shards: z.array(
    z.object({
      stream: count,
      unit: count,
      data: z.string().nullable(),
      size: count,
      samples: count,
      tokens: count,
    }),
  ),
});

/** Each unit as an `index.json` of that run says; null where it is no such thing. */
export function decodeIndex(bytes: Uint8Array, run: string): z.infer<typeof indexSchema>["shards"] | null {
  try {
    const index = indexSchema.parse(JSON.parse(Buffer.from(bytes).toString("utf8")));
    return index.run === run ? index.shards : null;
  } catch {
    return null;
  }
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
