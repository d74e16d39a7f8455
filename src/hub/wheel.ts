// One library out of a wheel, which is a zip archive (APPNOTE.TXT; no ZIP64: wheels are below 4 GB).

import { createWriteStream } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { basename } from "node:path";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createInflateRaw } from "node:zlib";
import { crc32 } from "@node-rs/crc32";
import { SluiceError } from "../base/errors.js";

const END_SIGNATURE = 0x06054b50;
const ENTRY_SIGNATURE = 0x02014b50;
const LOCAL_SIGNATURE = 0x04034b50;
const END_BYTES = 22;
const ENTRY_BYTES = 46;
const LOCAL_BYTES = 30;
/** The end record's comment may be so long. */
const LONGEST_COMMENT = 65_535;
const STORED = 0;
const DEFLATED = 8;

interface Entry {
  readonly name: string;
  readonly method: number;
  readonly crc: number;
  readonly packed: number;
  readonly size: number;
  readonly offset: number;
}

/**
 * Writes the largest file whose name fits `wanted` to `target`, its size and CRC-32 checked.
 * @returns its name within the wheel. @throws SluiceError `data` where there is none, or the archive is damaged.
 */
export async function unpackLibrary(wheel: string, wanted: RegExp, target: string): Promise<string> {
  const file = await open(wheel, "r");
  try {
    const entries = await readEntries(file, wheel);
    const fit = entries.filter((entry) => wanted.test(basename(entry.name)));
    const entry = fit.sort((a, b) => b.size - a.size)[0];
    if (!entry) throw damaged(wheel, `no file ${wanted.source} in it`);
    await unpack(file, entry, wheel, target);
    return entry.name;
  } finally {
    await file.close();
  }
}

async function readEntries(file: FileHandle, wheel: string): Promise<Entry[]> {
  const { size } = await file.stat();
  const tail = await read(file, Math.max(0, size - END_BYTES - LONGEST_COMMENT), END_BYTES + LONGEST_COMMENT);
  let end = tail.length - END_BYTES;
  while (end >= 0 && tail.readUInt32LE(end) !== END_SIGNATURE) end--;
  if (end < 0) throw damaged(wheel, "it is no zip archive");
  const count = tail.readUInt16LE(end + 10);
  const directory = await read(file, tail.readUInt32LE(end + 16), tail.readUInt32LE(end + 12));
  const entries: Entry[] = [];
  for (let i = 0, at = 0; i < count; i++) {
    if (at + ENTRY_BYTES > directory.length || directory.readUInt32LE(at) !== ENTRY_SIGNATURE)
      throw damaged(wheel, "its directory is torn");
    const nameBytes = directory.readUInt16LE(at + 28);
    entries.push({
      name: directory.toString("utf8", at + ENTRY_BYTES, at + ENTRY_BYTES + nameBytes),
      method: directory.readUInt16LE(at + 10),
      crc: directory.readUInt32LE(at + 16),
      packed: directory.readUInt32LE(at + 20),
      size: directory.readUInt32LE(at + 24),
      offset: directory.readUInt32LE(at + 42),
    });
    at += ENTRY_BYTES + nameBytes + directory.readUInt16LE(at + 30) + directory.readUInt16LE(at + 32);
  }
  return entries;
}

async function unpack(file: FileHandle, entry: Entry, wheel: string, target: string): Promise<void> {
  const local = await read(file, entry.offset, LOCAL_BYTES);
  if (local.length < LOCAL_BYTES || local.readUInt32LE(0) !== LOCAL_SIGNATURE)
    throw damaged(wheel, `${entry.name} is torn`);
  if (entry.method !== STORED && entry.method !== DEFLATED)
    throw damaged(wheel, `${entry.name} is compressed by method ${entry.method}`);
  const start = entry.offset + LOCAL_BYTES + local.readUInt16LE(26) + local.readUInt16LE(28);
  let crc = 0;
  let size = 0;
  const check = new Transform({
    transform(piece: Buffer, _encoding, next) {
      crc = crc32(piece, crc);
      size += piece.length;
      // A file that unpacks to more than it says must not fill the disk.
      next(size > entry.size ? damaged(wheel, `${entry.name} is larger than it says`) : null, piece);
    },
  });
  const source = file.createReadStream({ start, end: start + entry.packed - 1, autoClose: false });
  const sink = createWriteStream(target, { flags: "wx", mode: 0o755 });
  try {
    if (entry.method === STORED) await pipeline(source, check, sink);
    else await pipeline(source, createInflateRaw(), check, sink);
  } catch (error) {
    if (error instanceof SluiceError || !/^Z_/.test(String((error as { code?: unknown }).code))) throw error;
    throw damaged(wheel, `${entry.name} cannot be unpacked`);
  }
  if (size !== entry.size || crc !== entry.crc) throw damaged(wheel, `${entry.name} has another checksum`);
}

async function read(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, position);
  return buffer.subarray(0, bytesRead);
}

function damaged(wheel: string, found: string): SluiceError {
  return new SluiceError("data", `${basename(wheel)} cannot be unpacked`, {
    found,
    fix: "Download it again.",
  });
}
