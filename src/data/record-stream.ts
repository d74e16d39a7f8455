// A stream of records, whatever its files are: the seam between kinds of files and what is done with records. Its places
// are bytes of its files, one after the other, or for Parquet rows.

import { csvFormat } from "./csv.js";
import type { DatasetStream } from "./dataset.js";
import type { RawRecord } from "./fields.js";
import type { TextKind } from "./file-kind.js";
import { JSON_LINES, TEXT_LINES } from "./lines.js";
import { ParquetStream } from "./parquet-stream.js";
import type { TextFormat } from "./text-format.js";
import { TextStream } from "./text-stream.js";
import type { UnitEntry, UnitTable } from "./unit-table.js";

/** How a stream is cut into units. */
export interface ScanOptions {
  readonly samplesPerShard: number;
  /** Records of the stream at most. */
  readonly maxRecords: number;
  /** Gets the bytes read so far. */
  readonly onProgress?: (bytes: number) => void;
}

/** A unit's records, and the SHA-256 of what they were read from. */
export interface UnitRecords {
  readonly records: readonly RawRecord[];
  readonly sha256: string;
}

/** A record, and how many it stands for. */
export interface SampledRecord {
  readonly raw: RawRecord;
  readonly weight: number;
  /** Bytes of the dataset that it takes; of a Parquet file, the mean over its rows. */
  readonly bytes: number;
}

/** A stream, opened. */
export interface RecordStream {
  /** The one pass over the stream when a run is created: where each unit's records are, and the hash of their bytes. */
  scan(options: ScanOptions): Promise<UnitTable>;
  /** Reads one unit. @throws system errors of reading; a unit that has changed shows in the hash, and may then have no records. */
  read(entry: UnitEntry): Promise<UnitRecords>;
  /** About one record for each of the places (bytes of the stream, ascending): weighted means of them are those of all records. */
  sample(places: readonly number[]): Promise<SampledRecord[]>;
  /** The columns that its files name; null where each record names its own. */
  columns(): Promise<readonly string[] | null>;
  close(): Promise<void>;
}

/** The format of a kind of text file. */
export function textFormat(kind: TextKind): TextFormat {
  switch (kind) {
    case "json":
      return JSON_LINES;
    case "text":
      return TEXT_LINES;
    case "csv":
      return csvFormat(",");
    case "tsv":
      return csvFormat("\t");
  }
}

/** Opens a stream; nothing is read yet. */
export function openRecordStream(stream: DatasetStream): RecordStream {
  return stream.kind === "parquet"
    ? new ParquetStream(stream.files, stream.columns)
    : new TextStream(stream.files, textFormat(stream.kind));
}
