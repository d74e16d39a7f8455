// One Parquet file: its schema and row groups, the hash of what identifies a row group's rows, and rows from anywhere. Only
// the columns that records are read by are touched.

import { createHash } from "node:crypto";
import { type ColumnMetaData, type FileMetaData, parquetSchema, type SchemaTree } from "hyparquet";
import { assembleNested } from "hyparquet/src/assemble.js";
import { DEFAULT_PARSERS } from "hyparquet/src/convert.js";
import { isSluiceError, messageOf, SluiceError } from "../base/errors.js";
import { type DataFile, openData } from "./data-file.js";
import { asJson, type RawRecord } from "./fields.js";
import { ColumnReader, rangeOf } from "./parquet-column.js";
import { readMetadata } from "./parquet-metadata.js";

const PIECE_BYTES = 4 << 20;

/** A row group: its rows in the file, and its column chunks that are used, in the schema's order. */
export interface RowGroup {
  /** Of the file, from 0. */
  readonly firstRow: number;
  readonly rows: number;
  readonly chunks: readonly ColumnMetaData[];
}

/** A file, opened. One caller at a time. */
export class ParquetFile {
  readonly path: string;
  /** Top-level columns. */
  readonly columns: readonly string[];
  readonly groups: readonly RowGroup[];
  readonly rows: number;
  readonly #file: DataFile;
  readonly #schema: SchemaTree;
  readonly #used: readonly SchemaTree[];
  /** Readers of the used columns, all at the same row. */
  #cursor:
    | { readonly group: number; readonly columns: ReadonlyMap<string, ColumnReader>; row: number }
    | undefined;

  private constructor(path: string, file: DataFile, metadata: FileMetaData, used: readonly string[] | null) {
    this.path = path;
    this.#file = file;
    this.#schema = parquetSchema(metadata);
    this.columns = this.#schema.children.map((child) => child.element.name);
    this.#used = this.#schema.children.filter(({ element }) => used === null || used.includes(element.name));
    const names = new Set(this.#used.map(({ element }) => element.name));
    let firstRow = 0;
    this.groups = metadata.row_groups.map((group) => {
      const chunks = group.columns.flatMap(({ meta_data, file_path }) => {
        if (file_path || !meta_data) throw new Error("its columns lie in other files");
        return names.has(meta_data.path_in_schema[0] ?? "") ? [meta_data] : [];
      });
      const placed = { firstRow, rows: Number(group.num_rows), chunks };
      if (!(placed.rows >= 0 && placed.rows < 2 ** 31))
        throw new Error(`it has a row group of ${placed.rows} rows`);
      firstRow += placed.rows;
      return placed;
    });
    this.rows = firstRow;
  }

  /** @param used the top-level columns to read; null for all. @throws SluiceError `config` where it is no Parquet file. */
  static async open(path: string, used: readonly string[] | null): Promise<ParquetFile> {
    const file = await openData(path);
    try {
      const { size } = await file.stat();
      return new ParquetFile(path, file, await readMetadata(file, size), used);
    } catch (cause) {
      await file.close();
      throw unreadable(path, cause);
    }
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  /**
   * The hash of a row group's used columns: their types, and their bytes as they are stored. It is taken at the disk's speed, where
   * a hash of the values would have to decode them all.
   */
  async hashGroup(index: number): Promise<string> {
    const sha = createHash("sha256");
    const buffer = Buffer.allocUnsafeSlow(PIECE_BYTES);
    sha.update(
      JSON.stringify(this.#used, (_, value: unknown) => (typeof value === "bigint" ? String(value) : value)),
    );
    for (const chunk of this.groups[index]?.chunks ?? []) {
      sha.update(`\n${chunk.path_in_schema.join(".")} ${chunk.codec} ${chunk.num_values}\n`);
      const { start, end } = rangeOf(chunk);
      for (let at = start; at < end; ) {
        const { bytesRead } = await this.#file.read(buffer, 0, Math.min(PIECE_BYTES, end - at), at);
        if (bytesRead === 0) break; // The file has become shorter: the hash will not be the run's.
        sha.update(buffer.subarray(0, bytesRead));
        at += bytesRead;
      }
    }
    return sha.digest("hex");
  }

  /** Rows [start, end) of a row group. Reading on where the last call ended decodes no page twice. @throws SluiceError `config` where a page cannot be read. */
  async read(index: number, start: number, end: number): Promise<RawRecord[]> {
    const group = this.groups[index];
    if (!group) throw new SluiceError("bug", `${this.path} has no row group ${index}`);
    try {
      const cursor = await this.#seek(index, group, start);
      const values = new Map<string, unknown[]>();
      for (const [path, column] of cursor.columns) values.set(path, await column.take(end - start));
      cursor.row = end;
      return this.#assemble(values, end - start);
    } catch (cause) {
      this.#cursor = undefined;
      throw unreadable(this.path, cause);
    }
  }

  async #seek(index: number, group: RowGroup, row: number) {
    if (this.#cursor?.group !== index || this.#cursor.row > row) {
      const columns = new Map(
        group.chunks.map((chunk) => [
          chunk.path_in_schema.join("."),
          new ColumnReader(this.#file, chunk, this.#schema),
        ]),
      );
      this.#cursor = { group: index, columns, row: 0 };
    }
    const cursor = this.#cursor;
    for (const column of cursor.columns.values()) await column.skip(row - cursor.row);
    cursor.row = row;
    return cursor;
  }

  /** Columns to rows. */
  #assemble(values: Map<string, unknown[]>, count: number): RawRecord[] {
    for (const child of this.#used)
      if (child.children.length > 0) assembleNested(values, child, DEFAULT_PARSERS);
    const columns = this.#used.map(({ element }): [string, unknown[]] => [
      element.name,
      values.get(element.name) ?? [],
    ]);
    const short = columns.find(([, column]) => column.length !== count);
    if (short)
      throw new Error(`column ${short[0]} has ${short[1].length} rows where ${count} were asked for`);
    return Array.from({ length: count }, (_, row) => ({
      fields: Object.fromEntries(columns.map(([name, column]) => [name, asJson(column[row])])),
    }));
  }
}

function unreadable(path: string, cause: unknown): SluiceError {
  if (isSluiceError(cause)) return cause; // Of the store that it lies in.
  return new SluiceError("config", `${path} cannot be read as Parquet`, {
    found: messageOf(cause),
    fix: "Check that the file is whole, or write it again.",
    cause,
  });
}
