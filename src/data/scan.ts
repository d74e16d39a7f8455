// The one pass over a dataset when a run is created, and the look at records here and there that comes before it: both in a
// thread of their own, since decoding takes its time.

import { Worker } from "node:worker_threads";
import { entryPoint } from "../base/entry.js";
import { type PlainError, reviveError } from "../base/error-transfer.js";
import { randomNumbers } from "../base/random.js";
import type { Dataset, DatasetStream } from "./dataset.js";
import { openRecordStream, type SampledRecord } from "./record-stream.js";
import { type Alive, endStalled } from "./stalled-thread.js";
import type { UnitTable } from "./unit-table.js";

/** What is scanned. Plain data: it crosses a thread boundary. */
export interface ScanRequest {
  readonly stream: DatasetStream;
  readonly samplesPerShard: number;
  /** Records of the stream at most. */
  readonly maxRecords: number;
}

/** What is looked at. */
export interface SampleRequest {
  readonly dataset: Dataset;
  readonly count: number;
}

/** The passes over a dataset that a run's creation makes. */
export interface DatasetScan {
  sample(dataset: Dataset, count: number, signal?: AbortSignal): Promise<SampledRecord[]>;
  scan(
    dataset: Dataset,
    samplesPerShard: number,
    maxSamples: number | undefined,
    onProgress?: (bytes: number) => void,
    signal?: AbortSignal,
  ): Promise<UnitTable[]>;
}

/** Messages from the thread. */
export type ScanReply =
  | { readonly bytes: number }
  | { readonly result: UnitTable | SampledRecord[] }
  | { readonly error: PlainError };

/** Scans one stream in place. @param onProgress gets the bytes read so far. */
export async function scanStream(
  { stream, ...options }: ScanRequest,
  onProgress?: (bytes: number) => void,
): Promise<UnitTable> {
  const opened = openRecordStream(stream);
  try {
    return await opened.scan({ ...options, ...(onProgress ? { onProgress } : {}) });
  } finally {
    await opened.close();
  }
}

/** Records of stream s of S where the dataset is cut to so many. */
export function recordsOfStream(maxSamples: number | undefined, stream: number, streams: number): number {
  return maxSamples === undefined
    ? Number.POSITIVE_INFINITY
    : Math.max(0, Math.ceil((maxSamples - stream) / streams));
}

/**
 * Scans all streams of a dataset, one after the other, in a thread.
 * @param onProgress gets the bytes read so far, of all streams. @throws system errors of reading, and the signal's reason.
 */
export async function scanDataset(
  dataset: Dataset,
  samplesPerShard: number,
  maxSamples: number | undefined,
  onProgress?: (bytes: number) => void,
  signal?: AbortSignal,
): Promise<UnitTable[]> {
  const tables: UnitTable[] = [];
  let before = 0;
  for (const [s, stream] of dataset.streams.entries()) {
    const maxRecords = recordsOfStream(maxSamples, s, dataset.streams.length);
    tables.push(
      await runInThread<UnitTable>(
        { stream, samplesPerShard, maxRecords },
        (bytes) => onProgress?.(before + bytes),
        signal,
      ),
    );
    before += stream.bytes;
  }
  return tables;
}

/** {@link sampleRecords} in a thread. @throws system errors of reading, and the signal's reason. */
export function sampleDataset(
  dataset: Dataset,
  count: number,
  signal?: AbortSignal,
): Promise<SampledRecord[]> {
  return runInThread<SampledRecord[]>({ dataset, count }, () => {}, signal);
}

/** Both passes, each in a thread. */
export const threadedScan: DatasetScan = { sample: sampleDataset, scan: scanDataset };

function runInThread<T extends UnitTable | SampledRecord[]>(
  request: ScanRequest | SampleRequest,
  onProgress: (bytes: number) => void,
  signal?: AbortSignal,
): Promise<T> {
  signal?.throwIfAborted();
  const thread = new Worker(entryPoint(import.meta.url, "./scan-thread.js"), { workerData: request });
  let stop = () => {};
  let unwatch = () => {};
  return new Promise<T>((resolve, reject) => {
    stop = () => reject(signal?.reason);
    signal?.addEventListener("abort", stop, { once: true });
    thread.on("error", reject);
    thread.on("exit", () => reject(new Error("the scanning thread ended")));
    const what = "stream" in request ? request.stream.files.map(({ path }) => path) : [request.dataset.path];
    unwatch = endStalled(thread, () => what.slice(0, 3).join(", "), reject);
    thread.on("message", (reply: ScanReply | Alive) => {
      if ("alive" in reply) return;
      if ("bytes" in reply) onProgress(reply.bytes);
      else if ("result" in reply) resolve(reply.result as T);
      else reject(reviveError(reply.error));
    });
  }).finally(() => {
    signal?.removeEventListener("abort", stop); // One for each of a hundred streams would stay on it.
    unwatch();
    void thread.terminate();
  });
}

/**
 * Records at evenly spaced bytes of the dataset: one in each stride, at a place that is the same on every machine. Each has a weight,
 * so that weighted means are those of all records.
 */
export async function sampleRecords(dataset: Dataset, count: number): Promise<SampledRecord[]> {
  const total = dataset.streams.reduce((sum, stream) => sum + stream.bytes, 0);
  const random = randomNumbers("records");
  // A place of its own within each stride: strides that keep step with the records' lengths would meet the same kind only.
  const places = Array.from({ length: count }, (_, i) =>
    Math.floor(((i + random() / 2 ** 32) * total) / count),
  );
  const samples: SampledRecord[] = [];
  let before = 0;
  for (const stream of dataset.streams) {
    const own = places.filter((place) => place >= before && place < before + stream.bytes);
    const opened = openRecordStream(stream);
    try {
      for (const sample of await opened.sample(own.map((place) => place - before))) samples.push(sample);
    } finally {
      await opened.close();
    }
    before += stream.bytes;
  }
  return samples;
}
