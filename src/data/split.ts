// `sluice streams`: a dataset cut into N streams of JSON lines, so that workers share nothing, not even a file. Record i goes
// to stream i mod N. The folder exists when `streams.json` does: it is written last.

import { createHash, type Hash } from "node:crypto";
import { type FileHandle, open, readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import { SluiceError } from "../base/errors.js";
import { randomNumbers, shuffled } from "../base/random.js";
import type { DownloadOptions } from "../hub/snapshot.js";
import { makeFolders } from "../store/file-system.js";
import { type StreamsFile, streamFileName } from "./dataset.js";
import { readEveryRecord } from "./every-record.js";
import { locateDataset } from "./locate-dataset.js";

const FLUSH_BYTES = 1 << 20;

/** What to split, and how. */
export interface SplitOptions {
  readonly dataset: string;
  readonly streams: number;
  readonly folder: string;
  readonly maxSamples: number | undefined;
  /** Columns to keep; undefined for all. */
  readonly columns?: readonly string[] | undefined;
  /** Shuffles the records; they are held in memory for it. */
  readonly shuffleSeed: number | undefined;
  readonly signal?: AbortSignal;
  /** How a dataset of the Hub is brought. */
  readonly download?: DownloadOptions;
  /** Gets the records dealt out so far, at each; 0 at each that is read to be shuffled. */
  readonly onProgress?: (records: number) => void;
}

/**
 * Splits a dataset: .jsonl, .txt, .csv, .tsv, each also with .gz or .zst, and .parquet; a folder or a pattern of them.
 * @throws SluiceError `config` where the dataset is missing or empty, or the folder already holds other streams.
 */
export async function splitDataset(options: SplitOptions): Promise<StreamsFile> {
  const { folder, signal } = options;
  await refuseTaken(folder);
  const { name, files } = await locateDataset(options.dataset, options.download);
  if (files === "streams") {
    throw new SluiceError("config", `${options.dataset} is a streams folder already`, {
      fix: "Split the file it was made of.",
    });
  }
  await makeFolders(folder);
  const writers = await Promise.all(
    Array.from({ length: options.streams }, (_, s) => StreamWriter.open(join(folder, streamFileName(s)))),
  );
  try {
    let records = 0;
    for await (const line of readRecords(files, options)) {
      signal?.throwIfAborted();
      await writers[records % writers.length]?.write(line);
      records += 1;
      options.onProgress?.(records);
    }
    if (records === 0) throw new SluiceError("config", `the dataset ${options.dataset} has no records`);
    const streams = [];
    for (const [s, writer] of writers.entries())
      streams.push({ file: streamFileName(s), ...(await writer.finish()) });
    const summary: StreamsFile = {
      format: "sluice-streams-1",
      dataset: name.replace(/\.(gz|zst|zstd)$/, ""),
      num_streams: options.streams,
      records,
      streams,
    };
    await writeJson(join(folder, "streams.json"), summary);
    return summary;
  } finally {
    for (const writer of writers) await writer.close();
  }
}

/** The records in the order in which they are dealt out. */
async function* readRecords(files: readonly string[], options: SplitOptions): AsyncGenerator<Buffer> {
  const lines = takeFirst(readEveryRecord(files, options.columns), options.maxSamples);
  if (options.shuffleSeed === undefined) {
    yield* lines;
    return;
  }
  const all: Buffer[] = [];
  for await (const line of lines) {
    all.push(Buffer.from(line));
    options.onProgress?.(0);
  }
  yield* shuffled(all, randomNumbers(`streams/${options.shuffleSeed}`));
}

async function* takeFirst<T>(items: AsyncGenerator<T>, count: number | undefined): AsyncGenerator<T> {
  if (count === 0) return;
  let taken = 0;
  for await (const item of items) {
    yield item;
    if (++taken === count) return;
  }
}

/** One stream's file: written in large pieces, hashed on the way. */
class StreamWriter {
  readonly #file: FileHandle;
  readonly #path: string;
  readonly #hash: Hash = createHash("sha256");
  #pieces: Buffer[] = [];
  #pending = 0;
  #records = 0;
  #bytes = 0;

  private constructor(file: FileHandle, path: string) {
    this.#file = file;
    this.#path = path;
  }

  static async open(path: string): Promise<StreamWriter> {
    return new StreamWriter(await open(`${path}.tmp`, "w"), path);
  }

  async write(line: Buffer): Promise<void> {
    this.#pieces.push(line);
    this.#pending += line.length;
    this.#records += 1;
    if (this.#pending >= FLUSH_BYTES) await this.#flush();
  }

  async finish(): Promise<{ records: number; bytes: number; sha256: string }> {
    await this.#flush();
    await this.#file.sync();
    await rename(`${this.#path}.tmp`, this.#path);
    return { records: this.#records, bytes: this.#bytes, sha256: this.#hash.digest("hex") };
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  async #flush(): Promise<void> {
    const bytes = Buffer.concat(this.#pieces);
    this.#pieces = [];
    this.#pending = 0;
    this.#bytes += bytes.length;
    this.#hash.update(bytes);
    await this.#file.writeFile(bytes);
  }
}

async function refuseTaken(folder: string): Promise<void> {
  const there = await readFile(join(folder, "streams.json"), "utf8").catch(() => null);
  if (there === null) return;
  throw new SluiceError("config", `${folder} already holds streams`, {
    fix: "Name another --output-dir, or remove that folder first.",
  });
}

async function writeJson(path: string, value: unknown): Promise<void> {
  const file = await open(`${path}.tmp`, "w");
  try {
    await file.writeFile(`${JSON.stringify(value, null, 1)}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(`${path}.tmp`, path);
}
