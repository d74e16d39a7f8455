// Lines of a file of bytes. A record is a line with at least one byte that is not blank; its offset is where the line
// begins, and its end includes the newline.

import type { FileHandle } from "node:fs/promises";

const NEWLINE = 0x0a;

/** Whether the bytes [start, end) hold nothing but blanks (space, tab, CR, LF). */
export function isBlank(bytes: Uint8Array, start: number, end: number): boolean {
  for (let i = start; i < end; i++) {
    const byte = bytes[i];
    if (byte !== 0x20 && byte !== 0x09 && byte !== 0x0d && byte !== NEWLINE) return false;
  }
  return true;
}

/** The records in a piece of a file that begins and ends at a line's border, as ranges of the piece. */
export function* recordsIn(bytes: Buffer): Generator<{ readonly start: number; readonly end: number }> {
  for (let start = 0; start < bytes.length; ) {
    const newline = bytes.indexOf(NEWLINE, start);
    const end = newline < 0 ? bytes.length : newline + 1;
    if (!isBlank(bytes, start, end)) yield { start, end };
    start = end;
  }
}

/** The line that the offset lies in, with its newline; null where it is blank. @param size of the file, bytes. */
export async function recordAt(file: FileHandle, offset: number, size: number): Promise<Buffer | null> {
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
