// Documents to samples, one document at a time: as they are where they are short enough; else cut, left out, or read
// through a window that moves along them (`--too-long`).

import { selectPositions } from "../plan/positions.js";
import { roleCode } from "./chat-template.js";
import type { Fields } from "./fields.js";
import type { Document, RecordReader, RecordResult } from "./records.js";
import { TOKEN_FLAGS } from "./samples.js";

const PREVIEW_CHARACTERS = 200;

/** One sample: what the model reads at once, and which rows of it are stored. */
export interface Sample {
  /** The record that it is counted under, and which of that record's samples it is. */
  readonly record: number;
  readonly part: number;
  readonly ids: readonly number[];
  readonly flags: Uint8Array;
  /** Selected places, ascending. */
  readonly positions: readonly number[];
  /** Where its pieces begin that attention does not leave; [0] where there is one. */
  readonly segments: readonly number[];
  readonly info: string;
  readonly preview: string;
}

/** The samples of a record, and why the user's rules leave out the rest. */
export interface CutResult {
  readonly samples: readonly Sample[];
  readonly leftOut: readonly string[];
}

/** A stretch of tokens that is about to become a sample. */
export interface Piece {
  readonly record: number;
  readonly part: number;
  readonly ids: readonly number[];
  readonly flags: Uint8Array;
  readonly roles: Uint8Array | null;
  readonly segments: readonly number[];
  readonly info: Fields;
  /** The text it is of, or null where only its token ids are known. */
  readonly text: string | null;
}

/** Cuts the documents of one record by the rules. @param record its index in the dataset. */
export function cutRecord(reader: RecordReader, result: RecordResult, record: number): CutResult {
  const samples: Sample[] = [];
  const leftOut: string[] = [];
  let part = 0;
  for (const document of result.documents) {
    const { pieces, reason } = cutDocument(reader, document);
    if (reason !== undefined) leftOut.push(`part ${part}: ${reason}`);
    for (const { start, end, info, isCut } of pieces) {
      const sample = finishSample(reader, {
        record,
        part: part++,
        ids: document.ids.slice(start, end),
        flags: isCut
          ? document.flags.slice(start, end).map((f) => f | TOKEN_FLAGS.cut)
          : document.flags.slice(start, end),
        roles: document.roles?.subarray(start, end) ?? null,
        segments: [0],
        info: { ...document.info, ...info },
        text: start === 0 ? document.text : null,
      });
      if (sample) samples.push(sample);
      else leftOut.push(`part ${part - 1}: no token is left to take`);
    }
    if (pieces.length === 0) part += 1;
  }
  return { samples, leftOut };
}

/** The sample of a piece; null where the positions are of a kind that leaves out a sample without such a token. */
export function finishSample(reader: RecordReader, piece: Piece): Sample | null {
  const { record, part, ids, roles, segments, info, text } = piece;
  const { positions, skipSpecial, seed } = reader.rules;
  const flags = Uint8Array.from(piece.flags);
  flags[ids.length - 1] = (flags[ids.length - 1] ?? 0) | TOKEN_FLAGS.last;
  const isDropped = (place: number) => skipSpecial && ((flags[place] ?? 0) & TOKEN_FLAGS.special) !== 0;
  const wanted = positions.kind === "role" ? roleCode(positions.role) : -1;
  const isOfRole = (place: number) => roles?.[place] === wanted;
  const selected = selectPositions(positions, ids.length, isDropped, { seed, record, part }, isOfRole);
  if (selected === null) return null;
  const shown = text ?? reader.decode(ids.slice(0, PREVIEW_CHARACTERS));
  return {
    record,
    part,
    ids,
    flags,
    positions: selected,
    segments,
    info: JSON.stringify(info),
    preview: shown.slice(0, PREVIEW_CHARACTERS),
  };
}

interface Cut {
  readonly start: number;
  readonly end: number;
  readonly isCut: boolean;
  readonly info: Fields;
}

/** Which stretches of a document become samples, and why the rest is left out. */
function cutDocument(
  { rules }: RecordReader,
  { ids }: Document,
): { readonly pieces: readonly Cut[]; readonly reason?: string } {
  const { maxLength, tooLong, maxParts } = rules;
  const length = ids.length;
  if (length <= maxLength) return { pieces: [{ start: 0, end: length, isCut: false, info: {} }] };
  const cutInfo = { cut: tooLong, tokens_before_cut: length };
  switch (tooLong) {
    case "skip":
      return { pieces: [], reason: `${length} tokens, more than ${maxLength}` };
    case "cut":
      return { pieces: [{ start: 0, end: maxLength, isCut: true, info: cutInfo }] };
    case "cut-left":
      return { pieces: [{ start: length - maxLength, end: length, isCut: true, info: cutInfo }] };
    case "window": {
      const starts = windowStarts(length, maxLength, rules.stride);
      const pieces = starts.slice(0, maxParts).map((start, window) => ({
        start,
        end: Math.min(length, start + maxLength),
        isCut: true,
        info: { window, offset: start, document_tokens: length },
      }));
      const read = pieces.at(-1)?.end ?? 0;
      if (read === length) return { pieces };
      return {
        pieces,
        reason: `tokens from ${read} on of ${length}, after ${maxParts} windows (--max-parts)`,
      };
    }
  }
}

/** Where windows of a document begin: every stride, until one reaches the end. Each token is in one at least. */
export function windowStarts(length: number, size: number, stride: number): number[] {
  const count = length <= size ? 1 : Math.ceil((length - size) / stride) + 1;
  return Array.from({ length: count }, (_, window) => window * stride);
}
