// How records lie in a file of text: where each ends, and what it says. The seam between kinds of text files (lines.ts,
// csv.ts) and what is done with them (text-stream.ts, split.ts).

import type { RawRecord } from "./fields.js";

/** A kind of text file. */
export interface TextFormat {
  /** Whether the file begins with a header: the first record, which names the columns. */
  readonly hasHeader: boolean;
  /** A finder for records from their beginning on. */
  finder(): RecordFinder;
  /** One record's bytes, its line end included, as its fields. @param header the file's header, where the format has one. */
  parse(bytes: Buffer, header: Buffer | null): RawRecord;
  /** Whether bytes that were found without knowing where records begin are certainly one. */
  isSound(bytes: Buffer, header: Buffer | null): boolean;
  /** The columns that a header names; null where the format has no header. @throws SluiceError `config` where it is none. */
  columns(header: Buffer | null): readonly string[] | null;
}

/** Finds where records end, in a file that comes in pieces. */
export interface RecordFinder {
  /** The place in the piece after the next record that ends in it, at `from` or later; -1 where none does: go on with the next piece. */
  next(piece: Buffer, from: number): number;
  /** Whether the file's end now ends a record. */
  hasOpenRecord(): boolean;
}
