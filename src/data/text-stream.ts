// Text files, one after the other, as one stream of records: what is found in the scan, read again for a unit, and
// looked at here and there. One piece of a file is held at a time.

import { createHash, type Hash } from "node:crypto";
import { SluiceError } from "../base/errors.js";
import { type DataFile, openData } from "./data-file.js";
import type { DatasetFile } from "./dataset.js";
import type { RawRecord } from "./fields.js";
import { recordAt } from "./lines.js";
import type { RecordStream, SampledRecord, ScanOptions, UnitRecords } from "./record-stream.js";
import type { TextFormat } from "./text-format.js";
import type { UnitEntry, UnitTable } from "./unit-table.js";

const PIECE_BYTES = 8 << 20;
/** No longer record fits a JavaScript string with certainty. */
const MAX_RECORD_BYTES = 256 << 20;
/** Separates files in a unit's hash. */
const FILE_END = Buffer.of(0);

/** A header, and where the records begin. */
interface Header {
  readonly bytes: Buffer | null;
  readonly end: number;
}

/** A stream of text files. */
export class TextStream implements RecordStream {
  readonly #files: readonly (DatasetFile & { readonly base: number })[];
  readonly #format: TextFormat;
  readonly #headers = new Map<string, Header>();

  constructor(files: readonly DatasetFile[], format: TextFormat) {
    let base = 0;
    this.#files = files.map((file) => {
      const placed = { ...file, base };
      base += file.bytes;
      return placed;
    });
    this.#format = format;
  }

  /** Units tile the files: each begins where the one before it ended, and ends with its last record's line (the last one with the last file, unless maxRecords ends it). */
  async scan({ samplesPerShard, maxRecords, onProgress }: ScanOptions): Promise<UnitTable> {
    const table = new TableBuilder(samplesPerShard, maxRecords);
    const buffer = Buffer.allocUnsafeSlow(PIECE_BYTES);
    for (const { path, base } of this.#files) {
      if (table.isFull) break;
      const file = await openData(path);
      try {
        const header = await this.#readHeader(file, path, true);
        table.beginFile(header.bytes);
        const finder = this.#format.finder();
        let position = header.end;
        let recordStart = position;
        while (!table.isFull) {
          const { bytesRead } = await file.read(buffer, 0, PIECE_BYTES, position);
          if (bytesRead === 0) break;
          const piece = Buffer.from(buffer.buffer, buffer.byteOffset, bytesRead);
          let hashed = 0;
          for (let at = finder.next(piece, 0); at >= 0; at = finder.next(piece, at)) {
            recordStart = position + at;
            if (!table.addRecord()) continue;
            table.closeUnit(piece.subarray(hashed, at), base + recordStart);
            hashed = at;
            if (table.isFull) break;
          }
          if (table.isFull) break;
          table.hash(piece.subarray(hashed));
          position += bytesRead;
          if (position - recordStart > MAX_RECORD_BYTES) throw endless(path, recordStart);
          onProgress?.(base + position);
        }
        if (!table.isFull && finder.hasOpenRecord() && table.addRecord())
          table.closeUnit(Buffer.alloc(0), base + position);
        table.endFile(base + position);
      } finally {
        await file.close();
      }
    }
    return table.finish();
  }

  async read({ start, end }: UnitEntry): Promise<UnitRecords> {
    const sha = createHash("sha256");
    const records: RawRecord[] = [];
    let isFirst = true;
    for (const { path, bytes, base } of this.#files) {
      if (base + bytes <= start || base >= end) continue;
      const file = await openData(path);
      try {
        const header = await this.#readHeader(file, path);
        const from = Math.max(header.end, start - base);
        const piece = Buffer.alloc(Math.max(0, Math.min(bytes, end - base) - from));
        const { bytesRead } = await file.read(piece, 0, piece.length, from);
        if (bytesRead === 0) continue;
        if (!isFirst) sha.update(FILE_END);
        isFirst = false;
        const found = piece.subarray(0, bytesRead);
        sha.update(header.bytes ?? "").update(found);
        for (const record of this.#recordsIn(found)) records.push(this.#format.parse(record, header.bytes));
      } finally {
        await file.close();
      }
    }
    return { records, sha256: sha.digest("hex") };
  }

  async sample(places: readonly number[]): Promise<SampledRecord[]> {
    const samples: SampledRecord[] = [];
    let next = 0;
    for (const { path, bytes, base } of this.#files) {
      if ((places[next] ?? Number.POSITIVE_INFINITY) >= base + bytes) continue;
      const file = await openData(path);
      try {
        const header = await this.#readHeader(file, path);
        for (; (places[next] ?? Number.POSITIVE_INFINITY) < base + bytes; next++) {
          const offset = Math.max(header.end, (places[next] ?? 0) - base);
          const sampled = header.bytes
            ? await this.#recordAfter(file, header, offset, bytes)
            : await this.#recordAround(file, offset, bytes);
          if (sampled) samples.push(sampled);
        }
      } finally {
        await file.close();
      }
    }
    return samples;
  }

  async columns(): Promise<readonly string[] | null> {
    if (!this.#format.hasHeader) return this.#format.columns(null);
    const names = new Set<string>();
    for (const { path } of this.#files) {
      const file = await openData(path);
      try {
        const { bytes } = await this.#readHeader(file, path);
        for (const name of this.#format.columns(bytes) ?? []) names.add(name);
      } finally {
        await file.close();
      }
    }
    return [...names];
  }

  async close(): Promise<void> {}

  *#recordsIn(bytes: Buffer): Generator<Buffer> {
    const finder = this.#format.finder();
    let start = 0;
    for (let end = finder.next(bytes, 0); end >= 0; end = finder.next(bytes, end)) {
      yield bytes.subarray(start, end);
      start = end;
    }
    if (finder.hasOpenRecord()) yield bytes.subarray(start);
  }

  /** The line at the offset. A long one is met more often than a short one; its weight, one over its length, makes up for that. */
  async #recordAround(file: DataFile, offset: number, size: number): Promise<SampledRecord | null> {
    const line = await recordAt(file, offset, size);
    return line && { raw: this.#format.parse(line, null), weight: 1 / line.length, bytes: line.length };
  }

  /**
   * A record that begins after the offset. Whether that lies within quotes is not known: of the two ways to read on, the one is taken
   * that gives more sound rows.
   */
  async #recordAfter(
    file: DataFile,
    header: Header,
    offset: number,
    size: number,
  ): Promise<SampledRecord | null> {
    for (let reach = 64 << 10; ; reach *= 8) {
      const piece = Buffer.alloc(Math.min(size - offset, reach));
      await file.read(piece, 0, piece.length, offset);
      const isAtStart = offset === header.end;
      const ways = isAtStart ? [piece] : [piece, Buffer.concat([Buffer.from('\n"'), piece])];
      const [best] = ways
        .map((way) => this.#soundRows(way, isAtStart ? 0 : 1, header))
        .filter(({ sound }) => sound.length > 0)
        .sort((a, b) => a.unsound - b.unsound || b.sound.length - a.sound.length);
      const first = best?.sound[0];
      if (first) return { raw: this.#format.parse(first, header.bytes), weight: 1, bytes: first.length };
      if (offset + piece.length >= size || reach > PIECE_BYTES) return null;
    }
  }

  /** Which of the next rows that are whole are sound. */
  #soundRows(bytes: Buffer, skip: number, header: Header) {
    const sound: Buffer[] = [];
    let unsound = 0;
    let left = skip;
    for (const record of this.#recordsIn(bytes)) {
      if (left-- > 0) continue;
      if (record.at(-1) !== 0x0a || left < -32) break;
      if (this.#format.isSound(record, header.bytes)) sound.push(record);
      else unsound += 1;
    }
    return { sound, unsound };
  }

  /** @param anew whether it is read again: a file may have been edited since. */
  async #readHeader(file: DataFile, path: string, anew = false): Promise<Header> {
    if (!this.#format.hasHeader) return { bytes: null, end: 0 };
    const known = this.#headers.get(path);
    if (known && !anew) {
      const now = Buffer.alloc(known.end);
      await file.read(now, 0, known.end, 0);
      if (known.bytes?.equals(now)) return known;
    }
    for (let reach = 64 << 10; ; reach *= 8) {
      const piece = Buffer.alloc(reach);
      const { bytesRead } = await file.read(piece, 0, reach, 0);
      const end = this.#format.finder().next(piece.subarray(0, bytesRead), 0);
      if (end < 0 && bytesRead === reach && reach < MAX_RECORD_BYTES) continue;
      const header = {
        bytes: Buffer.from(piece.subarray(0, end < 0 ? bytesRead : end)),
        end: end < 0 ? bytesRead : end,
      };
      this.#format.columns(header.bytes);
      this.#headers.set(path, header);
      return header;
    }
  }
}

/** A table of units under way. */
class TableBuilder {
  readonly #samplesPerShard: number;
  readonly #maxRecords: number;
  readonly #units: UnitEntry[] = [];
  #records = 0;
  #inUnit = 0;
  #start = 0;
  #end = 0;
  #sha: Hash = createHash("sha256");
  #header: Buffer | null = null;
  /** Whether the unit has bytes of the file that is being read, and of one before it. */
  #hasFile = false;
  #hasEarlier = false;

  constructor(samplesPerShard: number, maxRecords: number) {
    this.#samplesPerShard = samplesPerShard;
    this.#maxRecords = maxRecords;
  }

  get isFull(): boolean {
    return this.#records >= this.#maxRecords;
  }

  beginFile(header: Buffer | null): void {
    this.#header = header;
    this.#hasEarlier ||= this.#hasFile;
    this.#hasFile = false;
  }

  endFile(end: number): void {
    this.#end = end;
  }

  /** Adds bytes to the unit. What a file adds to a unit is its header, and the bytes of the unit's records. */
  hash(bytes: Buffer): void {
    if (bytes.length === 0) return;
    if (!this.#hasFile && this.#hasEarlier) this.#sha.update(FILE_END);
    if (!this.#hasFile && this.#header) this.#sha.update(this.#header);
    this.#hasFile = true;
    this.#sha.update(bytes);
  }

  /** Counts a record. @returns whether it is its unit's last. */
  addRecord(): boolean {
    this.#records += 1;
    this.#inUnit += 1;
    return this.#inUnit === this.#samplesPerShard || this.isFull;
  }

  /** @param bytes the unit's, that were not hashed yet. */
  closeUnit(bytes: Buffer, end: number): void {
    this.hash(bytes);
    const sha256 = this.#sha.digest("hex");
    this.#units.push({ start: this.#start, end, records: this.#inUnit, sha256 });
    this.#sha = createHash("sha256");
    this.#start = end;
    this.#inUnit = 0;
    this.#hasFile = this.#hasEarlier = false;
  }

  finish(): UnitTable {
    if (this.#inUnit > 0) this.closeUnit(Buffer.alloc(0), this.#end);
    return { samplesPerShard: this.#samplesPerShard, records: this.#records, units: this.#units };
  }
}

function endless(path: string, start: number): SluiceError {
  return new SluiceError("config", `${path} has a record of more than ${MAX_RECORD_BYTES >> 20} MiB`, {
    found: `no end of the record that begins at byte ${start}`,
    fix: "In a CSV file a quote that opens a field is not closed there; mend the file.",
    values: { start },
  });
}
