// `sluice streams`: a dataset cut into N streams of JSON lines, so that workers share nothing, not even a file. Record i goes
// to stream i mod N. The folder exists when `streams.json` does: it is written last.

import { createHash, type Hash } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, open, readFile, rename, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import type { Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { SluiceError, systemCode } from "../base/errors.js";
import { randomNumbers, shuffled } from "../base/random.js";
import { makeFolders } from "../store/file-system.js";
import { openDataset, type StreamsFile, streamFileName } from "./dataset.js";
import { isBlank } from "./lines.js";

const FLUSH_BYTES = 1 << 20;
const NEWLINE = 0x0a;

/** What to split, and how. */
export interface SplitOptions {
  readonly dataset: string;
  readonly streams: number;
  readonly folder: string;
  readonly maxSamples: number | undefined;
  /** Shuffles the records; they are held in memory for it. */
  readonly shuffleSeed: number | undefined;
  readonly signal?: AbortSignal;
  readonly onProgress?: (records: number) => void;
}

/**
 * Splits a dataset: .jsonl, .txt, and either with .gz.
 * @throws SluiceError `config` where the dataset is missing or empty, or the folder already holds other streams.
 */
export async function splitDataset(options: SplitOptions): Promise<StreamsFile> {
  const { folder, signal } = options;
  await refuseTaken(folder);
  await makeFolders(folder);
  const writers = await Promise.all(
    Array.from({ length: options.streams }, (_, s) => StreamWriter.open(join(folder, streamFileName(s)))),
  );
  try {
    let records = 0;
    for await (const line of readRecords(options)) {
      signal?.throwIfAborted();
      await writers[records % writers.length]?.write(line);
      records += 1;
      if (records % 10_000 === 0) options.onProgress?.(records);
    }
    if (records === 0) throw new SluiceError("config", `the dataset ${options.dataset} has no records`);
    const streams = [];
    for (const [s, writer] of writers.entries())
      streams.push({ file: streamFileName(s), ...(await writer.finish()) });
    const name = basename(options.dataset).replace(/\.gz$/, "");
    const summary: StreamsFile = {
      format: "sluice-streams-1",
      dataset: name,
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

/** The dataset's records as JSON lines with a newline, in the order in which they are dealt out. */
async function* readRecords(options: SplitOptions): AsyncGenerator<Buffer> {
  const plain = options.dataset.replace(/\.gz$/i, "");
  const isText = /\.txt$/i.test(plain);
  const lines = takeFirst(await openLines(options.dataset), options.maxSamples);
  if (options.shuffleSeed === undefined) {
    for await (const line of lines) yield asJsonLine(line, isText);
    return;
  }
  const all: Buffer[] = [];
  for await (const line of lines) all.push(Buffer.from(line));
  for (const line of shuffled(all, randomNumbers(`streams/${options.shuffleSeed}`)))
    yield asJsonLine(line, isText);
}

async function openLines(dataset: string): Promise<AsyncGenerator<Buffer>> {
  if (!/\.gz$/i.test(dataset)) {
    const opened = await openDataset(dataset);
    if (opened.streams.length > 1)
      throw new SluiceError("config", `${dataset} is a streams folder already`, {
        fix: "Split the file it was made of.",
      });
    return linesOf(createReadStream(dataset, { highWaterMark: FLUSH_BYTES }));
  }
  await stat(dataset).catch((cause: unknown) => {
    throw systemCode(cause) === "ENOENT"
      ? new SluiceError("config", `there is no dataset at ${dataset}`, { cause })
      : cause;
  });
  const file = createReadStream(dataset, { highWaterMark: FLUSH_BYTES });
  const unzip = createGunzip();
  file.on("error", (error) => unzip.destroy(error));
  return linesOf(file.pipe(unzip));
}

/** Lines that are not blank, without their newline. */
async function* linesOf(source: Readable): AsyncGenerator<Buffer> {
  let rest: Buffer[] = [];
  for await (const chunk of source as AsyncIterable<Buffer>) {
    let start = 0;
    for (let newline = chunk.indexOf(NEWLINE); newline >= 0; newline = chunk.indexOf(NEWLINE, start)) {
      const line =
        rest.length === 0
          ? chunk.subarray(start, newline)
          : Buffer.concat([...rest, chunk.subarray(start, newline)]);
      rest = [];
      start = newline + 1;
      if (!isBlank(line, 0, line.length)) yield line;
    }
    if (start < chunk.length) rest.push(Buffer.from(chunk.subarray(start)));
  }
  const last = Buffer.concat(rest);
  if (!isBlank(last, 0, last.length)) yield last;
}

async function* takeFirst<T>(items: AsyncGenerator<T>, count: number | undefined): AsyncGenerator<T> {
  let taken = 0;
  for await (const item of items) {
    if (taken++ === count) return;
    yield item;
  }
}

function asJsonLine(line: Buffer, isText: boolean): Buffer {
  const end = line.at(-1) === 0x0d ? line.subarray(0, -1) : line;
  return Buffer.concat([
    isText ? Buffer.from(JSON.stringify({ text: end.toString("utf8") })) : end,
    Buffer.of(NEWLINE),
  ]);
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
