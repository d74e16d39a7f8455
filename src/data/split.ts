// `sluice streams`: a dataset cut into N streams of JSON lines, so that workers share nothing, not even a file. Record i goes
// to stream i mod N. The folder exists when `streams.json` does: it is written last. All files get their names at the end, create-only:
// of two commands that write to one folder at once, one wins.

import { createHash, type Hash } from "node:crypto";
import { type FileHandle, open, readFile } from "node:fs/promises";
import { join } from "node:path";
import { SluiceError } from "../base/errors.js";
import { parseJson } from "../base/parse-json.js";
import { randomNumbers, shuffled } from "../base/random.js";
import type { DownloadOptions } from "../hub/snapshot.js";
import { makeFolders } from "../store/file-system.js";
import { TemporaryFiles } from "../store/temporary-files.js";
import { missingColumn } from "./check-columns.js";
import { type StreamsFile, streamFileName } from "./dataset.js";
import { readEveryRecord } from "./every-record.js";
import { fieldAt } from "./fields.js";
import { kindOf, plainName } from "./file-kind.js";
import { locateDataset } from "./locate-dataset.js";

const FLUSH_BYTES = 1 << 20;
/** Of columns, in a message. */
const MAX_NAMES = 1000;

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
 * Told to stop, or failing, it leaves nothing behind.
 * @throws SluiceError `config` where the dataset is missing or empty, or the folder already holds other streams; `usage` where no record
 * has a column.
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
  if (options.columns) await refuseMissing(files, options.columns, options);
  await makeFolders(folder);
  const temporary = await TemporaryFiles.open(folder);
  const writers: StreamWriter[] = [];
  try {
    for (let s = 0; s < options.streams; s++)
      writers.push(await StreamWriter.open(temporary.newFile(), streamFileName(s)));
    let records = 0;
    for await (const line of readRecords(files, options)) {
      signal?.throwIfAborted();
      await writers[records % writers.length]?.write(line);
      records += 1;
      options.onProgress?.(records);
    }
    if (records === 0) throw new SluiceError("config", `the dataset ${options.dataset} has no records`);
    const streams = [];
    for (const writer of writers) streams.push(await writer.finish());
    const summary: StreamsFile = {
      format: "sluice-streams-1",
      dataset: name.replace(/\.(gz|zst|zstd)$/, ""),
      num_streams: options.streams,
      records,
      streams,
    };
    const list = temporary.newFile();
    await writeJson(list, summary);
    for (const { path, name } of [...writers, { path: list, name: "streams.json" }])
      if (!(await temporary.publish(path, join(folder, name)))) throw taken(folder, name);
    return summary;
  } finally {
    for (const writer of writers) await writer.close();
    await temporary.close();
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
    options.signal?.throwIfAborted();
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

/**
 * Reads on until every column has been seen, which the first record seldom leaves open. Files with a schema or a header say themselves what they
 * do not have, when they are read.
 */
async function refuseMissing(
  files: readonly string[],
  columns: readonly string[],
  { dataset, maxSamples, signal }: SplitOptions,
): Promise<void> {
  if (!files.every((file) => kindOf(plainName(file)) === "json")) return;
  const missing = new Set(columns);
  const names = new Set<string>();
  for await (const line of takeFirst(readEveryRecord(files, undefined), maxSamples)) {
    signal?.throwIfAborted();
    const fields = fieldsOf(line);
    for (const column of missing) if (fieldAt(fields, column) !== undefined) missing.delete(column);
    if (missing.size === 0) return;
    for (const name of Object.keys(fields)) if (names.size < MAX_NAMES) names.add(name);
  }
  const [column] = missing;
  if (column !== undefined && names.size > 0) throw missingColumn("--column", column, [...names], dataset);
}

/** A line's fields; none where it has none that can be read, which a run says. */
function fieldsOf(line: Buffer): Readonly<Record<string, unknown>> {
  try {
    const value = parseJson(line.toString("utf8"));
    return typeof value === "object" && value !== null && !Array.isArray(value) ? { ...value } : {};
  } catch {
    return {};
  }
}

/** One stream's file: written in large pieces, hashed on the way. */
class StreamWriter {
  /** Where it is written. */
  readonly path: string;
  /** What it is to be called. */
  readonly name: string;
  readonly #file: FileHandle;
  readonly #hash: Hash = createHash("sha256");
  #pieces: Buffer[] = [];
  #pending = 0;
  #records = 0;
  #bytes = 0;

  private constructor(file: FileHandle, path: string, name: string) {
    this.#file = file;
    this.path = path;
    this.name = name;
  }

  static async open(path: string, name: string): Promise<StreamWriter> {
    return new StreamWriter(await open(path, "wx"), path, name);
  }

  async write(line: Buffer): Promise<void> {
    this.#pieces.push(line);
    this.#pending += line.length;
    this.#records += 1;
    if (this.#pending >= FLUSH_BYTES) await this.#flush();
  }

  async finish(): Promise<{ file: string; records: number; bytes: number; sha256: string }> {
    await this.#flush();
    await this.#file.sync();
    return { file: this.name, records: this.#records, bytes: this.#bytes, sha256: this.#hash.digest("hex") };
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
  if (there !== null) throw taken(folder);
}

/** @param name a file that is there already, and has other bytes. */
function taken(folder: string, name?: string): SluiceError {
  return new SluiceError("config", `${folder} already holds streams`, {
    found: name === undefined ? undefined : `another ${name}`,
    fix: "Name another --output-dir, or remove that folder first.",
  });
}

async function writeJson(path: string, value: unknown): Promise<void> {
  const file = await open(path, "wx");
  try {
    await file.writeFile(`${JSON.stringify(value, null, 1)}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
}
