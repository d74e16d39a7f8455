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

/** The first record that begins after the offset's line, or at offset 0; null where there is none. @param size of the file, bytes. */
export async function recordAfter(
  file: FileHandle,
  offset: number,
  size: number,
): Promise<{ start: number; bytes: Buffer } | null> {
  let length = 64 << 10;
  for (;;) {
    const from = offset === 0 ? 0 : offset - 1;
    const piece = Buffer.alloc(Math.min(length, size - from));
    await file.read(piece, 0, piece.length, from);
    const isEnd = from + piece.length >= size;
    let start = offset === 0 ? 0 : piece.indexOf(NEWLINE) + 1;
    while (start > 0 || offset === 0) {
      const newline = piece.indexOf(NEWLINE, start);
      if (newline < 0 && !isEnd) break;
      const end = newline < 0 ? piece.length : newline + 1;
      if (!isBlank(piece, start, end)) return { start: from + start, bytes: piece.subarray(start, end) };
      if (end >= piece.length) break;
      start = end;
    }
    if (isEnd) return null;
    length *= 4;
  }
}
