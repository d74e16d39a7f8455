// Parquet files, one after the other, as one stream of records. A unit's locator is rows; its hash is made of the hashes of
// the row groups that it touches and of which of their rows are its own.

import { createHash } from "node:crypto";
import { SluiceError } from "../base/errors.js";
import { statData } from "./data-file.js";
import type { DatasetFile } from "./dataset.js";
import type { RawRecord } from "./fields.js";
import { missing } from "./locate-dataset.js";
import type { ParquetFile } from "./parquet-file.js";
import type { RecordStream, SampledRecord, ScanOptions, UnitRecords } from "./record-stream.js";
import type { UnitEntry, UnitTable } from "./unit-table.js";

/** Looks at records in so many places at most: each may cost the decoding of a row group. */
const MAX_PLACES = 40;

/** A file's rows in the stream, and what is known of it while it stays as it is. */
interface PlacedFile {
  readonly path: string;
  readonly bytes: number;
  readonly groups: readonly { readonly firstRow: number; readonly rows: number }[];
  readonly base: number;
  readonly rows: number;
}

/** Rows [from, to) of a row group. */
interface GroupRows {
  readonly file: PlacedFile;
  readonly group: number;
  readonly from: number;
  readonly to: number;
}

/** A stream of Parquet files. */
export class ParquetStream implements RecordStream {
  readonly #paths: readonly DatasetFile[];
  readonly #columns: readonly string[] | null;
  #placed: Promise<readonly PlacedFile[]> | undefined;
  /** The file that was read last, as it was then, and hashes of its row groups. */
  #current:
    | { readonly file: ParquetFile; readonly state: string; readonly hashes: Map<number, string> }
    | undefined;

  constructor(files: readonly DatasetFile[], columns: readonly string[] | null) {
    this.#paths = files;
    this.#columns = columns;
  }

  async scan({ samplesPerShard, maxRecords, onProgress }: ScanOptions): Promise<UnitTable> {
    const files = await this.#place();
    const last = files.at(-1);
    const records = Math.min(maxRecords, last ? last.base + last.rows : 0);
    const units: UnitEntry[] = [];
    for (let start = 0; start < records; start += samplesPerShard) {
      const end = Math.min(records, start + samplesPerShard);
      const { sha256, bytes } = await this.#hash(rowsOf(files, start, end));
      units.push({ start, end, records: end - start, sha256 });
      onProgress?.(bytes);
    }
    return { samplesPerShard, records, units };
  }

  async read({ start, end, sha256: expected }: UnitEntry): Promise<UnitRecords> {
    const pieces = rowsOf(await this.#place(), start, end);
    const { sha256 } = await this.#hash(pieces);
    const records: RawRecord[] = [];
    if (sha256 !== expected) return { records, sha256 }; // Bytes that were changed may not even decode.
    for (const { file, group, from, to } of pieces) {
      const { file: opened } = await this.#open(file.path);
      for (const record of await opened.read(group, from, to)) records.push(record);
    }
    return { records, sha256 };
  }

  async sample(places: readonly number[]): Promise<SampledRecord[]> {
    const files = await this.#place();
    const bytes = this.#paths.reduce((sum, file) => sum + file.bytes, 0);
    const last = files.at(-1);
    const rows = last ? last.base + last.rows : 0;
    const starts = files.flatMap((file) => file.groups.map((group) => file.base + group.firstRow));
    const samples: SampledRecord[] = [];
    const runs = Math.min(MAX_PLACES, places.length);
    let end = 0;
    for (let run = 0; run < runs; run++) {
      const place = places[Math.floor((run * places.length) / runs)] ?? 0;
      const row = Math.floor((place / bytes) * rows);
      // Where there are many row groups, at the beginning of one: what lies before it need not be read.
      const start = starts.length < MAX_PLACES ? row : (starts.findLast((first) => first <= row) ?? row);
      const from = Math.max(start, end);
      end = Math.min(rows, from + Math.ceil(places.length / runs));
      for (const piece of rowsOf(files, from, end)) {
        const { file } = await this.#open(piece.file.path);
        for (const raw of await file.read(piece.group, piece.from, piece.to))
          samples.push({ raw, weight: 1, bytes: bytes / rows });
      }
    }
    return samples;
  }

  async columns(): Promise<readonly string[]> {
    const names = new Set<string>();
    for (const { path } of this.#paths)
      for (const name of (await this.#open(path)).file.columns) names.add(name);
    return [...names];
  }

  async close(): Promise<void> {
    await this.#current?.file.close();
    this.#current = undefined;
  }

  /** @returns also how many bytes of the stream lie before its end, about. */
  async #hash(pieces: readonly GroupRows[]): Promise<{ readonly sha256: string; readonly bytes: number }> {
    const sha = createHash("sha256");
    let bytes = 0;
    for (const { file, group, from, to } of pieces) {
      const { file: opened, hashes } = await this.#open(file.path);
      const hash = hashes.get(group) ?? (await opened.hashGroup(group));
      hashes.set(group, hash);
      sha.update(`${hash} ${from} ${to}\n`);
      const before = this.#paths.slice(
        0,
        this.#paths.findIndex(({ path }) => path === file.path),
      );
      const firstRow = file.groups[group]?.firstRow ?? 0;
      bytes =
        before.reduce((sum, b) => sum + b.bytes, 0) + (file.bytes * (firstRow + to)) / Math.max(1, file.rows);
    }
    return { sha256: sha.digest("hex"), bytes: Math.floor(bytes) };
  }

  #place(): Promise<readonly PlacedFile[]> {
    this.#placed ??= (async () => {
      const placed: PlacedFile[] = [];
      let base = 0;
      for (const { path, bytes } of this.#paths) {
        const { file } = await this.#open(path);
        const groups = file.groups.map(({ firstRow, rows }) => ({ firstRow, rows }));
        placed.push({ path, bytes, groups, base, rows: file.rows });
        base += file.rows;
      }
      return placed;
    })();
    return this.#placed;
  }

  /** The file, opened; anew where it is another one than before, or was changed. */
  async #open(path: string) {
    const facts = await statData(path);
    if (facts === null) throw missing(path);
    const state = facts.version;
    if (this.#current?.file.path === path && this.#current.state === state) return this.#current;
    await this.close();
    const { ParquetFile } = await import("./parquet-file.js"); // Most datasets are none: their threads start sooner without it.
    this.#current = { file: await ParquetFile.open(path, this.#columns), state, hashes: new Map() };
    return this.#current;
  }
}

/** The row groups that rows [start, end) of the stream lie in. @throws SluiceError `config` where the files have fewer rows. */
function rowsOf(files: readonly PlacedFile[], start: number, end: number): GroupRows[] {
  const pieces: GroupRows[] = [];
  let found = 0;
  for (const file of files) {
    if (file.base + file.rows <= start || file.base >= end) continue;
    for (const [group, { firstRow, rows }] of file.groups.entries()) {
      const first = file.base + firstRow;
      const from = Math.max(0, start - first);
      const to = Math.min(rows, end - first);
      if (from >= to) continue;
      pieces.push({ file, group, from, to });
      found += to - from;
    }
  }
  if (found === end - start) return pieces;
  throw new SluiceError(
    "config",
    `the dataset was edited since the run was created: rows ${start} to ${end - 1} are not there`,
    {
      found: `${files.reduce((sum, file) => sum + file.rows, 0)} rows`,
      fix: "Restore the dataset, or start a new run with another --output.",
    },
  );
}
