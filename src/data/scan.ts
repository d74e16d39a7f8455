// The one pass over a dataset when a run is created: where each unit's records are, and the hash of their bytes. It runs at
// the disk's speed in a thread of its own, and holds one piece of the file at a time.

import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import { Worker } from "node:worker_threads";
import { entryPoint } from "../base/entry.js";
import { type PlainError, reviveError } from "../base/error-transfer.js";
import { randomNumbers } from "../base/random.js";
import type { Dataset } from "./dataset.js";
import { isBlank, recordAt } from "./lines.js";
import type { UnitEntry, UnitTable } from "./unit-table.js";

const PIECE_BYTES = 8 << 20;
const NEWLINE = 0x0a;

/** What is scanned. */
export interface ScanRequest {
  readonly file: string;
  readonly samplesPerShard: number;
  /** Records of the stream at most. */
  readonly maxRecords: number;
}

/** Messages from the scanning thread. */
export type ScanReply =
  | { readonly bytes: number }
  | { readonly table: UnitTable }
  | { readonly error: PlainError };

/**
 * Scans one stream in place. Units tile the file: each begins where the one before it ended, and ends with the line of its last
 * record (the last one with the file, unless maxRecords ends it).
 * @param onProgress gets the bytes read so far.
 */
export async function scanStream(
  request: ScanRequest,
  onProgress?: (bytes: number) => void,
): Promise<UnitTable> {
  const { samplesPerShard, maxRecords } = request;
  const units: UnitEntry[] = [];
  let records = 0;
  let inUnit = 0;
  let start = 0;
  let position = 0;
  let hasRecord = false;
  let sha = createHash("sha256");
  const closeUnit = (end: number) => {
    units.push({ start, end, records: inUnit, sha256: sha.digest("hex") });
    sha = createHash("sha256");
    start = end;
    inUnit = 0;
  };
  const file = await open(request.file, "r");
  try {
    const buffer = Buffer.allocUnsafeSlow(PIECE_BYTES);
    while (records < maxRecords) {
      const { bytesRead } = await file.read(buffer, 0, PIECE_BYTES, position);
      if (bytesRead === 0) break;
      const piece = buffer.subarray(0, bytesRead);
      let hashed = 0;
      for (let at = 0; at < bytesRead && records < maxRecords; ) {
        const newline = piece.indexOf(NEWLINE, at);
        const lineEnd = newline < 0 ? bytesRead : newline + 1;
        hasRecord ||= !isBlank(piece, at, lineEnd);
        at = lineEnd;
        if (newline < 0 || !hasRecord) continue;
        hasRecord = false;
        records += 1;
        inUnit += 1;
        if (inUnit < samplesPerShard && records < maxRecords) continue;
        sha.update(piece.subarray(hashed, at));
        hashed = at;
        closeUnit(position + at);
      }
      sha.update(piece.subarray(hashed));
      position += bytesRead;
      onProgress?.(position);
    }
  } finally {
    await file.close();
  }
  if (hasRecord && records < maxRecords) {
    records += 1;
    inUnit += 1;
  }
  if (inUnit > 0) closeUnit(position);
  return { samplesPerShard, records, units };
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
      await scanInThread(
        { file: stream.file, samplesPerShard, maxRecords },
        (bytes) => onProgress?.(before + bytes),
        signal,
      ),
    );
    before += stream.bytes;
  }
  return tables;
}

function scanInThread(
  request: ScanRequest,
  onProgress: (bytes: number) => void,
  signal?: AbortSignal,
): Promise<UnitTable> {
  signal?.throwIfAborted();
  const thread = new Worker(entryPoint(import.meta.url, "./scan-thread.js"), { workerData: request });
  return new Promise<UnitTable>((resolve, reject) => {
    signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
    thread.on("error", reject);
    thread.on("message", (reply: ScanReply) => {
      if ("bytes" in reply) onProgress(reply.bytes);
      else if ("table" in reply) resolve(reply.table);
      else reject(reviveError(reply.error));
    });
  }).finally(() => void thread.terminate());
}

/** A record, and how many it stands for. */
export interface SampledRecord {
  readonly bytes: Buffer;
  readonly weight: number;
}

/**
 * Records at evenly spaced bytes of the dataset (one in each stride, at a place that is the same on every machine). A long record is met more often than a short one; its weight, one over its
 * length, makes up for that, so that weighted means are those of all records.
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
  let next = 0;
  for (const stream of dataset.streams) {
    const file = await open(stream.file, "r");
    try {
      for (; next < count && (places[next] ?? 0) < before + stream.bytes; next++) {
        const record = await recordAt(file, (places[next] ?? 0) - before, stream.bytes);
        if (record) samples.push({ bytes: Buffer.from(record), weight: 1 / record.length });
      }
    } finally {
      await file.close();
    }
    before += stream.bytes;
  }
  return samples;
}
