// What a Parquet file says of itself at its end: schema and row groups. Its size, shape and depth are checked before `hyparquet` makes
// anything of it.

import { type FileMetaData, parquetMetadata, type SchemaElement } from "hyparquet";
import { ConvertedTypes } from "hyparquet/src/constants.js";
import { deserializeTCompactProtocol } from "hyparquet/src/thrift.js";
import type { DataFile } from "./data-file.js";
import { MAX_DECIMAL_BYTES } from "./parquet-page.js";
import { checkStruct } from "./parquet-thrift.js";

/** Read at once: most files' metadata are smaller. */
const TAIL_BYTES = 512 << 10;
/** Some hundred thousand column chunks. */
const MAX_METADATA_BYTES = 64 << 20;
const MAX_SCHEMA_DEPTH = 32;

/** @throws Error where the file does not end as Parquet does, or says what cannot be. */
export async function readMetadata(file: DataFile, size: number): Promise<FileMetaData> {
  let tail = await readTail(file, size, TAIL_BYTES);
  if (tail.length < 12 || tail.toString("latin1", tail.length - 4) !== "PAR1")
    throw new Error("it does not end with PAR1");
  const length = tail.readUInt32LE(tail.length - 8);
  if (length > MAX_METADATA_BYTES || length > size - 8)
    throw new Error(`its metadata have ${length} bytes (at most ${Math.min(size - 8, MAX_METADATA_BYTES)})`);
  if (length + 8 > tail.length) tail = await readTail(file, size, length + 8);
  const bytes = tail.subarray(tail.length - 8 - length, tail.length - 8);
  checkStruct(bytes);
  checkDecimals(bytes);
  const metadata = parquetMetadata(tail);
  checkDepth(metadata.schema);
  // A value that refers to its parts by their places may be a billion values; it is left as the bytes that it is.
  for (const element of metadata.schema)
    if (element.logical_type?.type === "VARIANT") delete element.logical_type;
  return metadata;
}

async function readTail(file: DataFile, size: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(Math.min(size, length));
  const { bytesRead } = await file.read(bytes, 0, bytes.length, size - bytes.length);
  if (bytesRead < bytes.length) throw new Error("it has become shorter");
  return bytes;
}

/** Field names of parquet.thrift, by number. */
interface RawMetadata {
  /** The schema's elements: 1 is the type, 6 the converted one. */
  readonly field_2?: readonly { readonly field_1?: number; readonly field_6?: number }[];
  /** Row groups; their columns; of a column its metadata, and of these the statistics. */
  readonly field_4?: readonly {
    readonly field_1?: readonly {
      readonly field_3?: { readonly field_12?: Readonly<Record<string, unknown>> };
    }[];
  }[];
}

/** The least and greatest of decimals are converted with the rest. @throws Error where one is longer than a decimal is. */
function checkDecimals(bytes: Buffer): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const { field_2: schema, field_4: groups } = deserializeTCompactProtocol({
    view,
    offset: 0,
  }) as RawMetadata;
  if (!Array.isArray(schema) || !Array.isArray(groups))
    throw new Error("its metadata have no schema or no row groups");
  const leaves = schema.filter(({ field_1 }) => field_1 !== undefined);
  for (const { field_1: columns } of groups as NonNullable<RawMetadata["field_4"]>)
    for (const [i, column] of columns?.entries() ?? []) {
      if (ConvertedTypes[leaves[i]?.field_6 ?? -1] !== "DECIMAL") continue;
      for (const value of Object.values(column.field_3?.field_12 ?? {}))
        if (value instanceof Uint8Array && value.length > MAX_DECIMAL_BYTES)
          throw new Error(`its metadata have a decimal number of ${value.length} bytes`);
    }
}

/** For each value of a column as many lists are made as the column lies deep. */
function checkDepth(schema: readonly SchemaElement[]): void {
  const open: number[] = [];
  for (const { num_children: children } of schema) {
    while (open.at(-1) === 0) open.pop();
    if (open.length > 0) open.push((open.pop() ?? 0) - 1);
    if (children) open.push(children);
    if (open.length > MAX_SCHEMA_DEPTH) throw new Error(`its columns are more than ${MAX_SCHEMA_DEPTH} deep`);
  }
}
