// One column of one row group, read page by page: memory holds a page, however large the row group is.

import type { ColumnMetaData, DecodedArray, PageHeader, SchemaTree } from "hyparquet";
import { parquetHeader } from "hyparquet/src/column.js";
import { DEFAULT_PARSERS } from "hyparquet/src/convert.js";
import { getTreePath, isFlatColumn } from "hyparquet/src/schema.js";
import type { DataFile } from "./data-file.js";
import { COMPRESSORS } from "./parquet-codecs.js";
import { type ColumnDecoder, checkHeader, readDictionary, readRows } from "./parquet-page.js";
import { checkStruct } from "./parquet-thrift.js";

/** A page's header holds statistics, so that it may be of some size. */
const HEADER_BYTES = 4 << 10;
const MAX_HEADER_BYTES = 16 << 20;

/** Where a column chunk's bytes lie in its file. */
export function rangeOf(chunk: ColumnMetaData): { readonly start: number; readonly end: number } {
  const start = Number(chunk.dictionary_page_offset || chunk.data_page_offset);
  return { start, end: start + Number(chunk.total_compressed_size) };
}

/** A place in a column chunk that moves forward. */
export class ColumnReader {
  readonly #file: DataFile;
  readonly #end: number;
  readonly #isFlat: boolean;
  readonly #decoder: ColumnDecoder;
  #at: number;
  /** Values that the pages to come may have in all. */
  #values: number;
  #dictionary: DecodedArray | undefined;
  /** Decoded rows that were not taken yet. Of a repeated column the last one may go on in the next page. */
  #rows: unknown[] = [];

  constructor(file: DataFile, chunk: ColumnMetaData, schema: SchemaTree) {
    this.#file = file;
    const { start, end } = rangeOf(chunk);
    this.#at = start;
    this.#end = end;
    this.#values = Number(chunk.num_values);
    const schemaPath = getTreePath(schema, chunk.path_in_schema);
    const leaf = schemaPath.at(-1);
    if (!leaf) throw new Error(`no column ${chunk.path_in_schema.join(".")}`);
    this.#isFlat = isFlatColumn(schemaPath);
    this.#decoder = {
      ...chunk,
      pathInSchema: chunk.path_in_schema,
      element: leaf.element,
      schemaPath,
      parsers: DEFAULT_PARSERS,
      compressors: COMPRESSORS,
      utf8: false,
    };
  }

  /** The next rows: values of a flat column, else lists nested as the schema is. Fewer where the chunk ends before. */
  async take(count: number): Promise<unknown[]> {
    while (this.#whole() < count && this.#at < this.#end) await this.#nextPage(0);
    return this.#rows.splice(0, Math.min(count, this.#whole()));
  }

  /** Passes over rows; pages that hold no others are not decoded where their header says how many rows they have. */
  async skip(count: number): Promise<void> {
    let left = count;
    while (left > 0) {
      const passed = Math.min(left, this.#whole());
      this.#rows.splice(0, passed);
      left -= passed;
      if (left === 0 || this.#at >= this.#end) return;
      left -= await this.#nextPage(left);
    }
  }

  #whole(): number {
    return this.#isFlat || this.#at >= this.#end ? this.#rows.length : Math.max(0, this.#rows.length - 1);
  }

  /** Reads a page; or passes over it where it has at most so many rows. @returns the rows passed over. */
  async #nextPage(skippable: number): Promise<number> {
    const { header, length } = await this.#readHeader();
    const page = this.#at + length;
    const { compressed_page_size: size } = header;
    if (!(size >= 0 && size <= this.#end - page))
      throw new Error(`a page of ${size} bytes does not fit its column`);
    const values = checkHeader(header, this.#decoder);
    this.#values -= values;
    if (!(this.#values >= 0)) throw new Error("a column has more values than it says");
    this.#at = page + size;
    const rows =
      header.data_page_header_v2?.num_rows ?? (this.#isFlat && header.data_page_header ? values : undefined);
    // A row of a repeated column ends where the next page begins one.
    if (rows !== undefined && rows <= skippable && this.#rows.length === 0) return rows;
    if (header.type !== "DICTIONARY_PAGE" && header.type !== "DATA_PAGE" && header.type !== "DATA_PAGE_V2")
      return 0;
    const bytes = Buffer.allocUnsafeSlow(size);
    const { bytesRead } = await this.#file.read(bytes, 0, bytes.length, page);
    if (bytesRead < bytes.length) throw new Error("the file ends inside a page");
    if (header.type === "DICTIONARY_PAGE") {
      this.#dictionary = readDictionary(bytes, header, this.#decoder);
      return 0;
    }
    const open = this.#isFlat ? undefined : this.#rows;
    const data = readRows(bytes, header, this.#decoder, this.#dictionary, open);
    if (data !== this.#rows) for (const row of data) this.#rows.push(row);
    return 0;
  }

  async #readHeader(): Promise<{ readonly header: PageHeader; readonly length: number }> {
    for (let size = HEADER_BYTES; ; size *= 16) {
      const bytes = Buffer.alloc(Math.min(size, this.#end - this.#at));
      await this.#file.read(bytes, 0, bytes.length, this.#at);
      try {
        const length = checkStruct(bytes);
        const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
        return { header: parquetHeader({ view, offset: 0 }), length };
      } catch (error) {
        if (bytes.length < size || size >= MAX_HEADER_BYTES) throw error;
      }
    }
  }
}
