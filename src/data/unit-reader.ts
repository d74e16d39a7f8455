// Reads units: seeks to the unit's bytes, checks their hash, and turns each record into samples. In a worker thread, so
// that neither the heartbeat nor the engine ever waits for a tokenizer.

import { Worker } from "node:worker_threads";
import { endThread } from "../base/end-thread.js";
import { entryPoint } from "../base/entry.js";
import { flattenError, type PlainError, reviveError } from "../base/error-transfer.js";
import { SluiceError, systemCode } from "../base/errors.js";
import { plural } from "../base/plural.js";
import { checkSamples } from "./check-samples.js";
import type { DatasetStream } from "./dataset.js";
import type { RawRecord } from "./fields.js";
import { openRecordStream, type RecordStream } from "./record-stream.js";
import { RecordReader, type RecordRules } from "./records.js";
import type { Skipped, UnitReader, UnitSamples } from "./samples.js";
import { type Alive, endStalled } from "./stalled-thread.js";
import { openTokenizer } from "./tokenizer.js";
import { flattenSamples, type IndexedRecord, sampleUnit } from "./unit-samples.js";
import type { UnitTable } from "./unit-table.js";

/** What a reader needs. Plain data: it crosses a thread boundary. */
export interface UnitReaderOptions {
  readonly streams: readonly DatasetStream[];
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
  #reader: Promise<RecordReader> | undefined;
  readonly #streams = new Map<number, RecordStream>();
  /** A stream has one caller at a time. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: UnitReaderOptions) {
    this.#o = options;
  }

  read(unit: { readonly stream: number; readonly index: number }): Promise<UnitSamples> {
    const samples = this.#last.then(() => this.#read(unit));
    this.#last = samples.catch(() => {});
    return samples;
  }

  async #read(unit: { readonly stream: number; readonly index: number }): Promise<UnitSamples> {
    this.#reader ??= openTokenizer(this.#o.model).then(
      (tokenizer) => new RecordReader(this.#o.rules, tokenizer),
    );
    const reader = await this.#reader;
    const { records, sha256, first } = await this.#readRecords(unit);
    const sampled = sampleUnit(reader, this.#index(records, first, unit.stream));
    this.#limitSkipped(unit, sampled.skipped, sampled.count);
    const samples = flattenSamples(sampled, sha256);
    const { streams, rules } = this.#o;
    checkSamples(samples, {
      stream: unit.stream,
      streams: streams.length,
      from: first,
      to: first + sampled.count,
      vocabulary: rules.vocabulary,
    });
    return samples;
  }

  async close(): Promise<void> {
    for (const stream of this.#streams.values()) await stream.close();
    this.#streams.clear();
  }

  *#index(records: readonly RawRecord[], first: number, stream: number): Generator<IndexedRecord> {
    for (const [i, raw] of records.entries()) {
      yield { record: (first + i) * this.#o.streams.length + stream, raw };
    }
  }

  async #readRecords(unit: { readonly stream: number; readonly index: number }): Promise<{
    readonly records: readonly RawRecord[];
    readonly sha256: string;
    readonly first: number;
  }> {
    const entry = this.#o.tables[unit.stream]?.units[unit.index];
    const description = this.#o.streams[unit.stream];
    if (!entry || !description)
      throw new SluiceError("bug", `no unit ${unit.index} in stream ${unit.stream}`);
    const first = unit.index * this.#o.samplesPerShard;
    const stream = this.#streams.get(unit.stream) ?? openRecordStream(description);
    this.#streams.set(unit.stream, stream);
    const { records, sha256 } = await stream.read(entry).catch((cause: unknown) => {
      if (systemCode(cause) !== "ENOENT") throw cause;
      const path = cause instanceof Error && "path" in cause ? String(cause.path) : "";
      throw new SluiceError("config", `the dataset's file ${path} is gone`, {
        fix: "Put it back, or give its new place with --dataset.",
        cause,
      });
    });
    if (sha256 === entry.sha256) return { records, sha256, first };
    const range = `records ${first} to ${first + entry.records - 1}`;
    throw new SluiceError(
      "config",
      `the dataset was edited since the run was created: stream ${unit.stream}, unit ${unit.index} (${range})`,
      {
        found: `SHA-256 ${sha256.slice(0, 16)} in ${description.files
          .map(({ path }) => path)
          .slice(0, 3)
          .join(", ")}`,
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
      `${skipped.length} of ${plural(records, "record")} of stream ${unit.stream}, unit ${unit.index} cannot be used`,
      {
        found: first.join("; "),
        expected: `at most ${limit} (--max-skipped)`,
        fix: "Check --column and --prompt, or allow more with --max-skipped N or all.",
        values: { stream: unit.stream, unit: unit.index, skipped: skipped.length },
      },
    );
  }
}

/** Messages between {@link ThreadedUnitReader} and its thread, which also says {@link Alive}. */
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
    {
      readonly stream: number;
      readonly index: number;
      resolve(samples: UnitSamples): void;
      reject(error: unknown): void;
    }
  >();
  #next = 0;
  /** Why the thread is no more. */
  #ended: Error | undefined;
  readonly #unwatch: () => void;

  /** @param stalledAfterMs of a thread that says nothing; tests have less time. */
  constructor(options: UnitReaderOptions, stalledAfterMs?: number) {
    this.#thread = new Worker(entryPoint(import.meta.url, "./unit-reader-thread.js"), {
      workerData: options,
    });
    this.#thread.unref();
    this.#thread.on("message", (reply: ReadReply | Alive) => {
      if ("alive" in reply) return;
      const waiting = this.#waiting.get(reply.id);
      this.#waiting.delete(reply.id);
      if (this.#waiting.size === 0) this.#thread.unref();
      if ("samples" in reply) waiting?.resolve(reply.samples);
      else waiting?.reject(reviveError(reply.error));
    });
    const fail = (error: Error) => {
      this.#ended ??= error;
      for (const { reject } of this.#waiting.values()) reject(this.#ended);
      this.#waiting.clear();
    };
    this.#unwatch = endStalled(
      this.#thread,
      () => {
        const [first] = this.#waiting.values();
        if (!first) return undefined;
        const paths = options.streams[first.stream]?.files.slice(0, 3).map(({ path }) => path);
        return `unit ${first.index} of stream ${first.stream} (${paths?.join(", ")})`;
      },
      fail,
      stalledAfterMs,
    );
    this.#thread.on("error", fail);
    this.#thread.on("exit", () => fail(new Error("the reading thread ended")));
  }

  read(
    unit: { readonly stream: number; readonly index: number },
    signal?: AbortSignal,
  ): Promise<UnitSamples> {
    signal?.throwIfAborted();
    if (this.#ended) return Promise.reject(this.#ended); // Nobody would answer.
    const id = this.#next++;
    const abort = () => this.#waiting.get(id)?.reject(signal?.reason);
    signal?.addEventListener("abort", abort, { once: true });
    return new Promise<UnitSamples>((resolve, reject) => {
      this.#waiting.set(id, { stream: unit.stream, index: unit.index, resolve, reject });
      this.#thread.ref();
      this.#thread.postMessage({ id, stream: unit.stream, index: unit.index } satisfies ReadRequest);
    }).finally(() => signal?.removeEventListener("abort", abort));
  }

  async close(): Promise<void> {
    this.#unwatch();
    await endThread(this.#thread);
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
