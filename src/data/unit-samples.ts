// The samples of one unit: its records read in order, cut or packed, as flat arrays that cross a thread boundary.

import { createHash } from "node:crypto";
import { type PackedDocument, packContexts } from "./contexts.js";
import { cutRecord, type Sample } from "./cut.js";
import type { RawRecord } from "./fields.js";
import type { RecordReader } from "./records.js";
import type { Skipped, UnitSamples } from "./samples.js";

/** A record and its index in the dataset. */
export interface IndexedRecord {
  readonly record: number;
  readonly raw: RawRecord;
}

/** What records give, in the dataset's order. */
export interface SampledRecords {
  readonly samples: readonly Sample[];
  /** Unusable records. */
  readonly skipped: readonly Skipped[];
  /** What the user's rules leave out. */
  readonly leftOut: readonly Skipped[];
  /** Records read. */
  readonly count: number;
}

/** Reads the records of one unit. @throws as {@link RecordReader.read} does. */
export function sampleUnit(reader: RecordReader, records: Iterable<IndexedRecord>): SampledRecords {
  const samples: Sample[] = [];
  const skipped: Skipped[] = [];
  const leftOut: Skipped[] = [];
  const documents: PackedDocument[] = [];
  let count = 0;
  for (const { record, raw } of records) {
    count += 1;
    const result = reader.read(raw, record);
    const { id } = result;
    if (result.unusable !== undefined) skipped.push({ record, id, reason: result.unusable });
    if (reader.rules.contextSize !== null) {
      for (const document of result.documents) documents.push({ record, id, document });
      continue;
    }
    const cut = cutRecord(reader, result, record);
    for (const reason of cut.leftOut) leftOut.push({ record, id, reason });
    for (const sample of cut.samples) samples.push(sample);
  }
  if (reader.rules.contextSize === null) return { samples, skipped, leftOut, count };
  const packed = packContexts(reader, documents);
  return { samples: packed.samples, skipped, leftOut: packed.leftOut, count };
}

/** Samples as flat arrays. The token hash covers each sample's length and ids, as little-endian i32. */
export function flattenSamples(sampled: SampledRecords, unitSha256: string): UnitSamples {
  const { samples, skipped, leftOut } = sampled;
  const count = samples.length;
  const inputOffsets = new Int32Array(count + 1);
  const positionOffsets = new Int32Array(count + 1);
  const segmentOffsets: number[] = [0];
  for (const [i, sample] of samples.entries()) {
    const start = inputOffsets[i] ?? 0;
    inputOffsets[i + 1] = start + sample.ids.length;
    positionOffsets[i + 1] = (positionOffsets[i] ?? 0) + sample.positions.length;
    for (const segment of sample.segments.slice(1)) segmentOffsets.push(start + segment);
    segmentOffsets.push(start + sample.ids.length);
  }
  const inputIds = new Int32Array(inputOffsets[count] ?? 0);
  const inputFlags = new Uint8Array(inputIds.length);
  const positions = new Int32Array(positionOffsets[count] ?? 0);
  const hash = createHash("sha256");
  for (const [i, sample] of samples.entries()) {
    inputIds.set(sample.ids, inputOffsets[i]);
    inputFlags.set(sample.flags, inputOffsets[i]);
    positions.set(sample.positions, positionOffsets[i]);
    hash.update(Int32Array.of(sample.ids.length)).update(Int32Array.from(sample.ids));
  }
  return {
    count,
    records: BigInt64Array.from(samples, ({ record }) => BigInt(record)),
    parts: Int32Array.from(samples, ({ part }) => part),
    inputIds,
    inputOffsets,
    inputFlags,
    segmentOffsets: Int32Array.from(segmentOffsets),
    positions,
    positionOffsets,
    infos: samples.map(({ info }) => info),
    previews: samples.map(({ preview }) => preview),
    skipped,
    leftOut,
    unitSha256,
    tokenSha256: hash.digest("hex"),
  };
}
