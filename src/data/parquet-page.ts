// One page of a column of Parquet, from its bytes to its rows: expanded, its levels and values read, its rows put together. What
// a page says of itself is compared with its bytes before anything is made of it. Values are decoded, converted and assembled by `hyparquet`.

import type { DecodedArray, PageHeader } from "hyparquet";
import { assembleLists } from "hyparquet/src/assemble.js";
import { convert } from "hyparquet/src/convert.js";
import { decompressPage, type readDataPage } from "hyparquet/src/datapage.js";
import { byteStreamSplit } from "hyparquet/src/encoding.js";
import { readPlain } from "hyparquet/src/plain.js";
import { getMaxDefinitionLevel, getMaxRepetitionLevel } from "hyparquet/src/schema.js";
import { readDeltaLengths, readDeltas, readDeltaTexts } from "./parquet-delta.js";
import { type PageReader, readRuns } from "./parquet-runs.js";

/** Values of a page, times the levels that are made for each. Writers make pages of a megabyte, which of true and false are 8 million values. */
const MAX_PAGE_VALUES = 1 << 26;
/** A page holds one value at least, which may be long. */
export const MAX_PAGE_BYTES = 1 << 30;
/** Decimals of more than 76 digits nobody has; a longer one takes time by the square of its length. */
export const MAX_DECIMAL_BYTES = 64;

/** A column as `hyparquet` wants it: type, place in the schema, codec. */
export type ColumnDecoder = Parameters<typeof readDataPage>[2];

/** A data page's header, of either version. */
interface DataHeader {
  readonly num_values: number;
  readonly encoding: string;
}

/** @throws Error where the page says that it holds what no page holds. @returns its values; 0 of a page of another kind. */
export function checkHeader(header: PageHeader, column: ColumnDecoder): number {
  const { uncompressed_page_size: bytes } = header;
  if (!(bytes >= 0 && bytes <= MAX_PAGE_BYTES))
    throw new Error(`a page says that it expands to ${bytes} bytes`);
  const said = header.data_page_header_v2 ?? header.data_page_header ?? header.dictionary_page_header;
  const values = said?.num_values ?? 0;
  const levels = 1 + getMaxDefinitionLevel(column.schemaPath);
  if (!(values >= 0 && values * levels <= MAX_PAGE_VALUES))
    throw new Error(`a page says that it holds ${values} values`);
  return header.dictionary_page_header ? 0 : values;
}

/** The values of a dictionary page. @param bytes as they are stored. */
export function readDictionary(bytes: Uint8Array, header: PageHeader, column: ColumnDecoder): DecodedArray {
  const count = header.dictionary_page_header?.num_values ?? 0;
  const page = decompressPage(bytes, header.uncompressed_page_size, column.codec, column.compressors);
  return convertValues(readPlainValues(readerOf(page), count, column), column);
}

/**
 * The rows of a data page.
 * @param bytes as they are stored. @param open rows of a repeated column that were read before: the page may go on with the last of them.
 * @returns `open` itself with the rows after its own, or rows to be put after it.
 */
export function readRows(
  bytes: Uint8Array,
  header: PageHeader,
  column: ColumnDecoder,
  dictionary: DecodedArray | undefined,
  open: unknown[] | undefined,
): DecodedArray {
  const said = header.data_page_header_v2 ?? header.data_page_header;
  if (!said) throw new Error("a data page has no header of one");
  if (said.num_values === 0) return [];
  const { repetitions, definitions, reader } = header.data_page_header_v2
    ? openV2(bytes, header, header.data_page_header_v2, column)
    : openV1(bytes, header, said.num_values, column);
  const highest = getMaxDefinitionLevel(column.schemaPath);
  let count = said.num_values;
  for (const level of definitions) if (level < highest) count -= 1;
  const values = readValues(reader, count, said, column, dictionary);
  return assembleLists(open ?? [], definitions, repetitions, values, column.schemaPath);
}

/** Of version 1 everything is compressed, and each kind of levels says its length. */
function openV1(bytes: Uint8Array, header: PageHeader, count: number, column: ColumnDecoder) {
  const page = decompressPage(bytes, header.uncompressed_page_size, column.codec, column.compressors);
  const reader = readerOf(page);
  const levels = (highest: number) =>
    highest === 0 ? [] : readLevels(reader, highest, count, reader.view.getUint32(moved(reader, 4), true));
  const repetitions = levels(getMaxRepetitionLevel(column.schemaPath));
  const definitions = levels(getMaxDefinitionLevel(column.schemaPath));
  return { repetitions, definitions, reader };
}

/** Of version 2 only the values are compressed, and the header has the lengths of levels. */
function openV2(
  bytes: Uint8Array,
  header: PageHeader,
  said: NonNullable<PageHeader["data_page_header_v2"]>,
  column: ColumnDecoder,
) {
  const reader = readerOf(bytes);
  const levels = (highest: number, length: number) => {
    if (highest > 0) return readLevels(reader, highest, said.num_values, length);
    moved(reader, length);
    return [];
  };
  const { repetition_levels_byte_length: first, definition_levels_byte_length: second } = said;
  const repetitions = levels(getMaxRepetitionLevel(column.schemaPath), first);
  const definitions = levels(getMaxDefinitionLevel(column.schemaPath), second);
  const rest = bytes.subarray(reader.offset);
  const length = header.uncompressed_page_size - first - second;
  if (length < 0) throw new Error(`a page of ${header.uncompressed_page_size} bytes has longer levels`);
  const page =
    said.is_compressed === false ? rest : decompressPage(rest, length, column.codec, column.compressors);
  return { repetitions, definitions, reader: readerOf(page) };
}

function readLevels(reader: PageReader, highest: number, count: number, length: number): number[] {
  const end = reader.offset + length;
  const at = reader.offset;
  moved(reader, length);
  const levels = readRuns({ view: reader.view, offset: at }, 32 - Math.clz32(highest), count, end);
  for (const level of levels)
    if (level > highest) throw new Error(`a page has a level of ${level} where ${highest} is the highest`);
  // As numbers of a list, as which they are only looked at.
  return levels as unknown as number[];
}

function readValues(
  reader: PageReader,
  count: number,
  { encoding }: DataHeader,
  column: ColumnDecoder,
  dictionary: DecodedArray | undefined,
): DecodedArray {
  if (count === 0) return [];
  const { type, element } = column;
  const left = reader.view.byteLength - reader.offset;
  switch (encoding) {
    case "PLAIN":
      return convertValues(readPlainValues(reader, count, column), column);
    case "PLAIN_DICTIONARY":
    case "RLE_DICTIONARY":
      return lookUp(reader, count, dictionary);
    case "RLE": {
      if (type !== "BOOLEAN") throw new Error(`runs of ${type}`);
      const length = reader.view.getUint32(moved(reader, 4), true);
      const bits = readRuns(reader, 1, count, Math.min(reader.offset + length, reader.view.byteLength));
      return convertValues(Array.from(bits, Boolean), column);
    }
    case "DELTA_BINARY_PACKED":
      if (type !== "INT32" && type !== "INT64") throw new Error(`deltas of ${type}`);
      return convertValues(
        readDeltas(reader, type === "INT32" ? new Int32Array(count) : new BigInt64Array(count)),
        column,
      );
    case "DELTA_LENGTH_BYTE_ARRAY":
      return convertValues(readDeltaLengths(reader, count), column);
    case "DELTA_BYTE_ARRAY":
      return convertValues(readDeltaTexts(reader, count, MAX_PAGE_BYTES), column);
    case "BYTE_STREAM_SPLIT":
      if (count * leastBytes(column) > left) throw tooFew(count, left);
      return convertValues(byteStreamSplit(reader, count, type, element.type_length), column);
    default:
      throw new Error(`parquet unsupported encoding: ${encoding}`);
  }
}

function readPlainValues(reader: PageReader, count: number, column: ColumnDecoder): DecodedArray {
  const left = reader.view.byteLength - reader.offset;
  if (count * leastBytes(column) > left) throw tooFew(count, left);
  return readPlain(reader, column.type, count, column.element.type_length);
}

/** What a value takes at least. */
function leastBytes({ type, element }: ColumnDecoder): number {
  switch (type) {
    case "BOOLEAN":
      return 1 / 8;
    case "INT64":
    case "DOUBLE":
      return 8;
    case "INT96":
      return 12;
    case "FIXED_LEN_BYTE_ARRAY":
      return element.type_length ?? 0;
    default:
      return 4;
  }
}

/** Values by their places in the dictionary, which is of converted ones. */
function lookUp(reader: PageReader, count: number, dictionary: DecodedArray | undefined): DecodedArray {
  if (!dictionary) throw new Error("a page refers to a dictionary, and there is none");
  const width = reader.view.getUint8(reader.offset++);
  const places =
    width === 0 ? new Uint32Array(count) : readRuns(reader, width, count, reader.view.byteLength);
  return Array.from(places, (place) => {
    if (place >= dictionary.length)
      throw new Error(`a page refers to value ${place} of a dictionary of ${dictionary.length}`);
    return dictionary[place] as unknown;
  });
}

function convertValues(values: DecodedArray, column: ColumnDecoder): DecodedArray {
  if (column.element.converted_type === "DECIMAL")
    for (const value of values)
      if (value instanceof Uint8Array && value.length > MAX_DECIMAL_BYTES)
        throw new Error(`a decimal number of ${value.length} bytes`);
  return convert(values, column);
}

function readerOf(page: Uint8Array): PageReader {
  return { view: new DataView(page.buffer, page.byteOffset, page.byteLength), offset: 0 };
}

/** Moves past so many bytes. @returns where they begin. */
function moved(reader: PageReader, bytes: number): number {
  const at = reader.offset;
  if (!(bytes >= 0 && bytes <= reader.view.byteLength - at))
    throw new Error(`${bytes} bytes where ${reader.view.byteLength - at} are left in a page`);
  reader.offset += bytes;
  return at;
}

const tooFew = (count: number, left: number) =>
  new Error(`a page of ${left} bytes says that it holds ${count} values`);
