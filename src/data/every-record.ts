// Every record of a dataset in order, as JSON lines: what `sluice streams` deals out. Unlike a run's reader it reads forward
// only, so that files may be compressed.

import { Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { Decompress } from "fzstd";
import { isSluiceError, messageOf, SluiceError } from "../base/errors.js";
import { missingColumn } from "./check-columns.js";
import { readForward } from "./data-file.js";
import { refuseOtherText } from "./dataset.js";
import { type Fields, fieldAt, type RawRecord } from "./fields.js";
import { type FileKind, isCompressed, kindOf, plainName } from "./file-kind.js";
import { decodeText } from "./lines.js";
import { textFormat } from "./record-stream.js";
import type { TextFormat } from "./text-format.js";

const PIECE_BYTES = 1 << 20;
const ROWS_AT_ONCE = 256;
/** What no text can hold is no record: a compressed file may expand to any size without an end of a line. */
const MAX_RECORD_BYTES = 128_000_000;
const ZSTD_SLICE = 8 << 10;
const NEWLINE = Buffer.from("\n");

/**
 * The records of files, one file after the other, each as a JSON line with its newline. Lines of JSON come as they are, also
 * where they cannot be parsed: a run counts them.
 * @param columns keeps these (and `id` and `task_id`); undefined for all.
 * @throws SluiceError `config` where a file is missing, damaged or of an unknown kind; `usage` where no file has a column.
 */
export async function* readEveryRecord(
  files: readonly string[],
  columns: readonly string[] | undefined,
): AsyncGenerator<Buffer> {
  for (const file of files) {
    const plain = plainName(file);
    const kind = kindOf(plain);
    if (kind === null || (kind === "parquet" && plain !== file)) {
      throw new SluiceError("config", `the dataset ${file} is of an unknown kind`, {
        expected: ".parquet, or .jsonl, .txt, .csv, .tsv, which may have .gz or .zst after it",
      });
    }
    if (plain === file && kind !== "parquet") await refuseOtherText(file, kind);
    yield* kind === "parquet" ? parquetRecords(file, columns) : textRecords(file, kind, columns);
  }
}

async function* parquetRecords(path: string, columns: readonly string[] | undefined): AsyncGenerator<Buffer> {
  const used = columns && ["id", "task_id", ...columns.map((name) => name.split(".")[0] ?? name), ...columns];
  const { ParquetFile } = await import("./parquet-file.js");
  const file = await ParquetFile.open(path, used ?? null);
  try {
    refuseMissing(columns, file.columns, path);
    for (const [group, { rows }] of file.groups.entries()) {
      for (let start = 0; start < rows; start += ROWS_AT_ONCE) {
        const records = await file.read(group, start, Math.min(rows, start + ROWS_AT_ONCE));
        for (const record of records) yield encode(record, columns);
      }
    }
  } finally {
    await file.close();
  }
}

async function* textRecords(
  path: string,
  kind: Exclude<FileKind, "parquet">,
  columns: readonly string[] | undefined,
): AsyncGenerator<Buffer> {
  const format = textFormat(kind);
  let header: Buffer | null = null;
  for await (const bytes of splitPieces(path, openPieces(path), format)) {
    if (format.hasHeader && header === null) {
      header = Buffer.from(bytes);
      refuseMissing(columns, format.columns(header) ?? [], path);
      continue;
    }
    if (kind !== "json" || columns) {
      const record = format.parse(bytes, header);
      yield "unusable" in record && kind === "json" ? lineOf(bytes) : encode(record, columns);
    } else {
      yield lineOf(bytes);
    }
  }
}

/** A record as a JSON line. One that has no fields becomes an object without any, so that none is lost and a run says so. */
function encode(record: RawRecord, columns: readonly string[] | undefined): Buffer {
  const fields: Fields = "fields" in record ? record.fields : { unusable: record.unusable };
  const kept = columns && ["id", "task_id", ...columns].map((name) => [name, fieldAt(fields, name)]);
  const chosen = kept ? Object.fromEntries(kept.filter(([, value]) => value !== undefined)) : fields;
  return Buffer.from(`${JSON.stringify(chosen)}\n`);
}

function lineOf(bytes: Buffer): Buffer {
  const text = decodeText(bytes);
  return text === null
    ? Buffer.concat([bytes.subarray(0, bytes.at(-1) === 0x0a ? -1 : undefined), NEWLINE])
    : Buffer.from(`${text}\n`);
}

function refuseMissing(columns: readonly string[] | undefined, names: readonly string[], path: string): void {
  const missing = columns?.find(
    (name) => !names.includes(name) && !names.includes(name.split(".")[0] ?? name),
  );
  if (missing !== undefined) throw missingColumn("--column", missing, names, path);
}

/** Records of a file that comes in pieces. */
async function* splitPieces(
  path: string,
  pieces: AsyncIterable<Buffer>,
  format: TextFormat,
): AsyncGenerator<Buffer> {
  const finder = format.finder();
  let rest: Buffer[] = [];
  let open = 0;
  for await (const piece of pieces) {
    let start = 0;
    for (let end = finder.next(piece, 0); end >= 0; end = finder.next(piece, end)) {
      yield rest.length === 0
        ? piece.subarray(start, end)
        : Buffer.concat([...rest, piece.subarray(start, end)]);
      rest = [];
      start = end;
    }
    if (start < piece.length) rest.push(Buffer.from(piece.subarray(start)));
    open = (start > 0 ? 0 : open) + piece.length - start;
    if (open > MAX_RECORD_BYTES)
      throw new SluiceError("config", `a record of ${path} is longer than ${MAX_RECORD_BYTES} bytes`, {
        fix: "Is it a file of records, one after the other?",
      });
  }
  if (finder.hasOpenRecord()) yield Buffer.concat(rest);
}

/** A file's bytes, decompressed. @throws SluiceError `config` where they are damaged. */
async function* openPieces(path: string): AsyncGenerator<Buffer> {
  const file = Readable.from(readForward(path, PIECE_BYTES));
  try {
    if (/\.gz$/i.test(path)) {
      const unzip = createGunzip();
      file.on("error", (error) => unzip.destroy(error));
      yield* file.pipe(unzip) as AsyncIterable<Buffer>;
    } else if (isCompressed(path)) {
      yield* unzstd(file);
    } else {
      yield* file as AsyncIterable<Buffer>;
    }
  } catch (cause) {
    if (isSluiceError(cause) || (cause instanceof Error && "syscall" in cause)) throw cause;
    throw new SluiceError("config", `${path} cannot be decompressed`, {
      found: messageOf(cause),
      fix: "Check that the file is whole.",
      cause,
    });
  } finally {
    file.destroy();
  }
}

async function* unzstd(file: Readable): AsyncGenerator<Buffer> {
  const pieces: Buffer[] = [];
  const decompress = new Decompress((piece) =>
    pieces.push(Buffer.from(piece.buffer, piece.byteOffset, piece.length)),
  );
  for await (const piece of file as AsyncIterable<Buffer>) {
    // Four bytes may stand for 128 kB: little at a time, so that what comes of it can be held.
    for (let at = 0; at < piece.length; at += ZSTD_SLICE) {
      decompress.push(piece.subarray(at, at + ZSTD_SLICE));
      yield* pieces.splice(0);
    }
  }
  decompress.push(new Uint8Array(0), true);
  yield* pieces;
}
