// Reads units: seeks to the unit's bytes, checks their hash, and turns each record into samples. In a worker thread, so
// that neither the heartbeat nor the engine ever waits for a tokenizer.

import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import { Worker } from "node:worker_threads";
import { entryPoint } from "../base/entry.js";
import { flattenError, type PlainError, reviveError } from "../base/error-transfer.js";
import { SluiceError, systemCode } from "../base/errors.js";
import { recordsIn } from "./lines.js";
import { RecordReader, type RecordRules, type RecordSample } from "./records.js";
import type { Skipped, UnitReader, UnitSamples } from "./samples.js";
import { openTokenizer } from "./tokenizer.js";
import type { UnitTable } from "./unit-table.js";

/** What a reader needs. Plain data: it crosses a thread boundary. */
export interface UnitReaderOptions {
  /** The streams' files. */
  readonly files: readonly string[];
  readonly tables: readonly UnitTable[];
  readonly samplesPerShard: number;
  /** The model's folder or GGUF file, for its tokenizer. */
  readonly model: string;
  readonly rules: RecordRules;
  /** Unusable records of one unit at most: a number, all, or half of them (never less than 8). */
  readonly maxSkipped: number | "all" | "half";
}

/** Reads in place: the obvious one. */
export class LocalUnitReader implements UnitReader {
  readonly #o: UnitReaderOptions;
  #records: Promise<RecordReader> | undefined;

  constructor(options: UnitReaderOptions) {
    this.#o = options;
  }

  async read(unit: { readonly stream: number; readonly index: number }): Promise<UnitSamples> {
    this.#records ??= openTokenizer(this.#o.model).then(
      (tokenizer) => new RecordReader(this.#o.rules, tokenizer),
    );
    const records = await this.#records;
    const { bytes, sha256, first } = await this.#readBytes(unit);
    const samples: { record: number; sample: RecordSample }[] = [];
    const skipped: Skipped[] = [];
    const leftOut: Skipped[] = [];
    let count = 0;
    for (const { start, end } of recordsIn(bytes)) {
      const record = (first + count++) * this.#o.files.length + unit.stream;
      const result = records.read(bytes.subarray(start, end), record);
      if (result.unusable !== undefined) skipped.push({ record, id: result.id, reason: result.unusable });
      for (const reason of result.leftOut) leftOut.push({ record, id: result.id, reason });
      for (const sample of result.samples) samples.push({ record, sample });
    }
    this.#limitSkipped(unit, skipped, count);
    return flatten(samples, skipped, leftOut, sha256);
  }

  async close(): Promise<void> {}

  async #readBytes(unit: {
    readonly stream: number;
    readonly index: number;
  }): Promise<{ bytes: Buffer; sha256: string; first: number }> {
    const entry = this.#o.tables[unit.stream]?.units[unit.index];
    const path = this.#o.files[unit.stream];
    if (!entry || path === undefined)
      throw new SluiceError("bug", `no unit ${unit.index} in stream ${unit.stream}`);
    const first = unit.index * this.#o.samplesPerShard;
    const bytes = Buffer.alloc(entry.end - entry.start);
    const file = await open(path, "r").catch((cause: unknown) => {
      if (systemCode(cause) !== "ENOENT") throw cause;
      throw new SluiceError("config", `the dataset's file ${path} is gone`, {
        fix: "Put it back, or give its new place with --dataset.",
        cause,
      });
    });
    let read: number;
    try {
      read = (await file.read(bytes, 0, bytes.length, entry.start)).bytesRead;
    } finally {
      await file.close();
    }
    const sha256 = createHash("sha256").update(bytes.subarray(0, read)).digest("hex");
    if (sha256 === entry.sha256) return { bytes, sha256, first };
    const records = `records ${first} to ${first + entry.records - 1}`;
    throw new SluiceError(
      "config",
      `the dataset was edited since the run was created: stream ${unit.stream}, unit ${unit.index} (${records})`,
      {
        found: `SHA-256 ${sha256.slice(0, 16)} in ${path}`,
        expected: entry.sha256.slice(0, 16),
        fix: "Restore the dataset, or start a new run with another --output.",
        values: { stream: unit.stream, unit: unit.index, from: first, to: first + entry.records },
      },
    );
  }

  #limitSkipped(
    unit: { readonly stream: number; readonly index: number },
    skipped: readonly Skipped[],
    records: number,
  ): void {
    const { maxSkipped } = this.#o;
    const limit =
      maxSkipped === "all"
        ? records
        : maxSkipped === "half"
          ? Math.max(8, Math.floor(records / 2))
          : maxSkipped;
    if (skipped.length <= limit) return;
    const first = skipped.slice(0, 3).map((s) => `record ${s.record}: ${s.reason}`);
    throw new SluiceError(
      "data",
      `${skipped.length} of ${records} records of stream ${unit.stream}, unit ${unit.index} cannot be used`,
      {
        found: first.join("; "),
        expected: `at most ${limit} (--max-skipped)`,
        fix: "Check --column and --prompt, or allow more with --max-skipped N or all.",
        values: { stream: unit.stream, unit: unit.index, skipped: skipped.length },
      },
    );
  }
}

/** Messages between {@link ThreadedUnitReader} and its thread. */
export type ReadRequest = { readonly id: number; readonly stream: number; readonly index: number };
export type ReadReply = { readonly id: number } & (
  | { readonly samples: UnitSamples }
  | { readonly error: PlainError }
);

/** Reads in a worker thread (`unit-reader-thread.ts`). */
export class ThreadedUnitReader implements UnitReader {
  readonly #thread: Worker;
  readonly #waiting = new Map<
    number,
    { resolve(samples: UnitSamples): void; reject(error: unknown): void }
  >();
  #next = 0;

  constructor(options: UnitReaderOptions) {
    this.#thread = new Worker(entryPoint(import.meta.url, "./unit-reader-thread.js"), {
      workerData: options,
    });
    this.#thread.unref();
    this.#thread.on("message", (reply: ReadReply) => {
      const waiting = this.#waiting.get(reply.id);
      this.#waiting.delete(reply.id);
      if (this.#waiting.size === 0) this.#thread.unref();
      if ("samples" in reply) waiting?.resolve(reply.samples);
      else waiting?.reject(reviveError(reply.error));
    });
    const fail = (error: Error) => {
      for (const { reject } of this.#waiting.values()) reject(error);
      this.#waiting.clear();
    };
    this.#thread.on("error", fail);
    this.#thread.on("exit", () => fail(new Error("the reading thread ended")));
  }

  read(
    unit: { readonly stream: number; readonly index: number },
    signal?: AbortSignal,
  ): Promise<UnitSamples> {
    signal?.throwIfAborted();
    const id = this.#next++;
    const abort = () => this.#waiting.get(id)?.reject(signal?.reason);
    signal?.addEventListener("abort", abort, { once: true });
    return new Promise<UnitSamples>((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#thread.ref();
      this.#thread.postMessage({ id, stream: unit.stream, index: unit.index } satisfies ReadRequest);
    }).finally(() => signal?.removeEventListener("abort", abort));
  }

  async close(): Promise<void> {
    await this.#thread.terminate();
  }
}

/** Runs one request; for the thread. */
export async function answerRead(reader: UnitReader, request: ReadRequest): Promise<ReadReply> {
  try {
    return { id: request.id, samples: await reader.read(request) };
  } catch (error) {
    return { id: request.id, error: flattenError(error) };
  }
}

/** Samples as flat arrays. The token hash covers each sample's length and ids, as little-endian i32. */
function flatten(
  samples: readonly { readonly record: number; readonly sample: RecordSample }[],
  skipped: readonly Skipped[],
  leftOut: readonly Skipped[],
  unitSha256: string,
): UnitSamples {
  const count = samples.length;
  const inputOffsets = new Int32Array(count + 1);
  const positionOffsets = new Int32Array(count + 1);
  for (const [i, { sample }] of samples.entries()) {
    inputOffsets[i + 1] = (inputOffsets[i] ?? 0) + sample.ids.length;
    positionOffsets[i + 1] = (positionOffsets[i] ?? 0) + sample.positions.length;
  }
  const inputIds = new Int32Array(inputOffsets[count] ?? 0);
  const inputFlags = new Uint8Array(inputIds.length);
  const positions = new Int32Array(positionOffsets[count] ?? 0);
  const hash = createHash("sha256");
  for (const [i, { sample }] of samples.entries()) {
    inputIds.set(sample.ids, inputOffsets[i]);
    inputFlags.set(sample.flags, inputOffsets[i]);
    positions.set(sample.positions, positionOffsets[i]);
    hash.update(Int32Array.of(sample.ids.length)).update(Int32Array.from(sample.ids));
  }
  return {
    count,
    records: BigInt64Array.from(samples, ({ record }) => BigInt(record)),
    parts: Int32Array.from(samples, ({ sample }) => sample.part),
    inputIds,
    inputOffsets,
    inputFlags,
    positions,
    positionOffsets,
    infos: samples.map(({ sample }) => sample.info),
    previews: samples.map(({ sample }) => sample.preview),
    skipped,
    leftOut,
    unitSha256,
    tokenSha256: hash.digest("hex"),
  };
}
