// `--context-size N`: the documents of a unit, one after the other, in contexts of N tokens, as sparse autoencoders are
// trained on. A context is one sample. By default nothing passes from one document to the next inside it: each document's
// piece is a segment of its own, which the model reads alone, from position 0.

import { finishSample, type Sample } from "./cut.js";
import type { Document, RecordReader } from "./records.js";
import type { Skipped } from "./samples.js";

/** A document of a unit, and where it is from. */
export interface PackedDocument {
  readonly record: number;
  readonly id: string;
  readonly document: Document;
}

/** Part of a document in a context. */
interface DocumentPiece {
  readonly from: PackedDocument;
  /** Tokens [start, end) of the document. */
  readonly start: number;
  readonly end: number;
}

/**
 * Packs a unit's documents into contexts: each full, but for the last. A context is counted under the record that its first token is
 * of, as the next of that record's parts.
 * @returns the contexts, and the pieces of the last one where it is short and --drop-short is on.
 */
export function packContexts(
  reader: RecordReader,
  documents: readonly PackedDocument[],
): { readonly samples: readonly Sample[]; readonly leftOut: readonly Skipped[] } {
  const { contextSize, dropShort } = reader.rules;
  const size = contextSize ?? 1;
  const samples: Sample[] = [];
  const leftOut: Skipped[] = [];
  const parts = new Map<number, number>();
  for (const pieces of contextsOf(documents, size)) {
    const first = pieces[0];
    if (!first) continue;
    const tokens = pieces.reduce((sum, { start, end }) => sum + end - start, 0);
    const leave = (reason: string) => {
      for (const { from, start, end } of pieces)
        leftOut.push({
          record: from.record,
          id: from.id,
          reason: `tokens ${start} to ${end - 1}: ${reason}`,
        });
    };
    if (tokens < size && dropShort) {
      leave(`the unit's last context has ${tokens} of ${size} tokens (--drop-short)`);
      continue;
    }
    const { record } = first.from;
    const part = parts.get(record) ?? 0;
    parts.set(record, part + 1);
    const sample = contextOf(reader, pieces, part);
    if (sample) samples.push(sample);
    else leave("no token of its context is left to take");
  }
  return { samples, leftOut };
}

/** The pieces of each context, in order. */
function contextsOf(documents: readonly PackedDocument[], size: number): DocumentPiece[][] {
  const contexts: DocumentPiece[][] = [];
  let room = 0;
  for (const from of documents) {
    const { length } = from.document.ids;
    for (let start = 0; start < length; ) {
      if (room === 0) {
        contexts.push([]);
        room = size;
      }
      const end = Math.min(length, start + room);
      contexts.at(-1)?.push({ from, start, end });
      room -= end - start;
      start = end;
    }
  }
  return contexts;
}

function contextOf(reader: RecordReader, pieces: readonly DocumentPiece[], part: number): Sample | null {
  const ids: number[] = [];
  const flags: number[] = [];
  const roles: number[] = [];
  const segments: number[] = [];
  const documents = [];
  for (const { from, start, end } of pieces) {
    const { document, record } = from;
    if (segments.length === 0 || !reader.rules.attendAcross) segments.push(ids.length);
    documents.push({
      ...document.info,
      record,
      place: ids.length,
      offset: start,
      document_tokens: document.ids.length,
    });
    for (let i = start; i < end; i++) {
      ids.push(document.ids[i] ?? 0);
      flags.push(document.flags[i] ?? 0);
      roles.push(document.roles?.[i] ?? 255);
    }
  }
  return finishSample(reader, {
    record: pieces[0]?.from.record ?? 0,
    part,
    ids,
    flags: Uint8Array.from(flags),
    roles: Uint8Array.from(roles),
    segments,
    info: { id: pieces[0]?.from.id, documents },
    text: null,
  });
}
