// Files of lines: JSON lines, or text as it stands. A record is a line with at least one byte that is not blank; it
// includes its newline, and blank lines before it belong to it.

import { messageOf } from "../base/errors.js";
import { parseJson } from "../base/parse-json.js";
import type { DataFile } from "./data-file.js";
import { isFields, type RawRecord } from "./fields.js";
import type { RecordFinder, TextFormat } from "./text-format.js";

const NEWLINE = 0x0a;

/** Whether the bytes [start, end) hold nothing but blanks (space, tab, CR, LF). */
export function isBlank(bytes: Uint8Array, start: number, end: number): boolean {
  for (let i = start; i < end; i++) {
    const byte = bytes[i];
    if (byte !== 0x20 && byte !== 0x09 && byte !== 0x0d && byte !== NEWLINE) return false;
  }
  return true;
}

/** A record that is a JSON object in a line. */
export const JSON_LINES: TextFormat = {
  hasHeader: false,
  finder: () => new LineFinder(),
  parse: parseJsonLine,
  isSound: () => true,
  columns: () => null,
};

/** A record that is a line, as `{text}`. */
export const TEXT_LINES: TextFormat = {
  hasHeader: false,
  finder: () => new LineFinder(),
  parse: (bytes) => {
    const text = decodeText(bytes);
    return text === null ? { unusable: "not valid UTF-8" } : { fields: { text } };
  },
  isSound: () => true,
  columns: () => ["text"],
};

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** A record's bytes as text, without blank lines before it and its own line end; null where they are not UTF-8. */
export function decodeText(bytes: Uint8Array): string | null {
  try {
    return utf8.decode(bytes.subarray(lineStart(bytes))).replace(/\r?\n?$/, "");
  } catch {
    return null;
  }
}

/** Where the first line begins that is not blank. */
function lineStart(bytes: Uint8Array): number {
  let start = 0;
  for (let newline = bytes.indexOf(NEWLINE); newline >= 0 && isBlank(bytes, start, newline); ) {
    start = newline + 1;
    newline = bytes.indexOf(NEWLINE, start);
  }
  return start;
}

function parseJsonLine(bytes: Buffer): RawRecord {
  const text = decodeText(bytes);
  if (text === null) return { unusable: "not valid UTF-8" };
  let value: unknown;
  try {
    value = parseJson(text);
  } catch (error) {
    const isDeep = messageOf(error).startsWith("nested");
    return { unusable: isDeep ? `JSON ${messageOf(error)}` : "not valid JSON" };
  }
  return isFields(value) ? { fields: value } : { unusable: "not a JSON object" };
}

class LineFinder implements RecordFinder {
  #hasRecord = false;

  next(piece: Buffer, from: number): number {
    for (let at = from; at < piece.length; ) {
      const newline = piece.indexOf(NEWLINE, at);
      const end = newline < 0 ? piece.length : newline + 1;
      this.#hasRecord ||= !isBlank(piece, at, end);
      at = end;
      if (newline < 0 || !this.#hasRecord) continue;
      this.#hasRecord = false;
      return end;
    }
    return -1;
  }

  hasOpenRecord(): boolean {
    return this.#hasRecord;
  }
}

/** The line that the offset lies in, with its newline; null where it is blank. @param size of the file, bytes. */
export async function recordAt(file: DataFile, offset: number, size: number): Promise<Buffer | null> {
  for (let reach = 64 << 10; ; reach *= 4) {
    const from = Math.max(0, offset - reach);
    const piece = Buffer.alloc(Math.min(size, offset + reach) - from);
    await file.read(piece, 0, piece.length, from);
    const before = offset === from ? -1 : piece.lastIndexOf(NEWLINE, offset - from - 1);
    const after = piece.indexOf(NEWLINE, offset - from);
    const hasStart = before >= 0 || from === 0;
    const hasEnd = after >= 0 || from + piece.length === size;
    if (!hasStart || !hasEnd) continue;
    const line = piece.subarray(before + 1, after < 0 ? piece.length : after + 1);
    return isBlank(line, 0, line.length) ? null : line;
  }
}
