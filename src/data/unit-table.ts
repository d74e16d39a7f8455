// `units/tpu_N.bin`: where each unit's records lie in a stream, and the SHA-256 of their bytes. Fixed-size entries, so that
// a table of 100,000 units is a few MB and needs no parsing.

import { createHash } from "node:crypto";
import { SluiceError } from "../base/errors.js";

const MAGIC = Buffer.from("SLUNITS1");
const HEAD_BYTES = 24;
const ENTRY_BYTES = 56;

/** Where one unit's records are. */
export interface UnitEntry {
  /** Bytes of the stream's file. Units tile it: each begins where the one before it ended. */
  readonly start: number;
  readonly end: number;
  /** Records in it. */
  readonly records: number;
  /** Of those bytes, hexadecimal. */
  readonly sha256: string;
}

/** The units of one stream. */
export interface UnitTable {
  readonly samplesPerShard: number;
  readonly records: number;
  readonly units: readonly UnitEntry[];
}

/** The table's bytes, little-endian. */
export function encodeUnitTable(table: UnitTable): Uint8Array {
  const bytes = Buffer.alloc(HEAD_BYTES + table.units.length * ENTRY_BYTES);
  MAGIC.copy(bytes);
  bytes.writeUInt32LE(table.samplesPerShard, 8);
  bytes.writeUInt32LE(table.units.length, 12);
  bytes.writeBigUInt64LE(BigInt(table.records), 16);
  for (const [i, unit] of table.units.entries()) {
    const at = HEAD_BYTES + i * ENTRY_BYTES;
    bytes.writeBigUInt64LE(BigInt(unit.start), at);
    bytes.writeBigUInt64LE(BigInt(unit.end), at + 8);
    bytes.writeBigUInt64LE(BigInt(unit.records), at + 16);
    bytes.write(unit.sha256, at + 24, "hex");
  }
  return bytes;
}

/** Reads a table. @throws SluiceError `data` where it is torn, or its numbers do not fit together. */
export function decodeUnitTable(data: Uint8Array, where: string): UnitTable {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  const fail = (what: string) =>
    new SluiceError("data", `${where} is not a table of units: ${what}`, {
      fix: "Remove it: it is made again from the dataset.",
    });
  if (bytes.length < HEAD_BYTES || !bytes.subarray(0, 8).equals(MAGIC)) throw fail("no header");
  const samplesPerShard = bytes.readUInt32LE(8);
  const count = bytes.readUInt32LE(12);
  const records = Number(bytes.readBigUInt64LE(16));
  if (bytes.length !== HEAD_BYTES + count * ENTRY_BYTES)
    throw fail(`${bytes.length} bytes for ${count} units`);
  const units: UnitEntry[] = [];
  let total = 0;
  for (let i = 0; i < count; i++) {
    const at = HEAD_BYTES + i * ENTRY_BYTES;
    const unit = {
      start: Number(bytes.readBigUInt64LE(at)),
      end: Number(bytes.readBigUInt64LE(at + 8)),
      records: Number(bytes.readBigUInt64LE(at + 16)),
      sha256: bytes.toString("hex", at + 24, at + 56),
    };
    const isFull =
      i < count - 1 ? unit.records === samplesPerShard : unit.records >= 1 && unit.records <= samplesPerShard;
    if (!isFull || unit.end <= unit.start || unit.start < (units[i - 1]?.end ?? 0))
      throw fail(`unit ${i} is out of order`);
    total += unit.records;
    units.push(unit);
  }
  if (total !== records) throw fail(`${records} records, but its units have ${total}`);
  return { samplesPerShard, records, units };
}

/** The SHA-256 of a table: the dataset's part of a run's identity. */
export function hashUnitTable(table: UnitTable): string {
  return createHash("sha256").update(encodeUnitTable(table)).digest("hex");
}
