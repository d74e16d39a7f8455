// `sluice export`: a run's tensors as one file each, all samples one after the other in the order of stream and unit. Plain
// formats; resumable, because a file exists only when it is whole.

import { open, readFile, rename, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { bytesOf, type DType, elementsOf, safetensorsName } from "../base/dtype.js";
import { SluiceError, systemCode } from "../base/errors.js";
import { decodeBfloat16 } from "../base/float16.js";
import { parseJson } from "../base/parse-json.js";
import { plural } from "../base/plural.js";
import type { Commit } from "../run/commit.js";
import { makeFolders } from "../store/file-system.js";
import { TemporaryFiles } from "../store/temporary-files.js";
import type { ReadableRun } from "./open-run.js";
import { readTensorOfEach, type TensorPiece } from "./read-tensor.js";

/** What to export. */
export interface ExportOptions {
  readonly to: "safetensors" | "npy";
  readonly folder: string;
  /** Full names of the taps. */
  readonly taps: readonly string[];
  readonly onFile?: (file: string, isNew: boolean) => void;
  readonly signal?: AbortSignal | undefined;
}

/** Says whose files a folder holds. */
const OWNER = "export.json";
const ownerSchema = z.object({ run: z.string() });
const OFFSETS = "sample_offsets";
const INDEX = ["sample_ids", "sample_parts", "token_ids", "positions", "token_flags", OFFSETS] as const;

/**
 * Exports the taps and the index of a complete run.
 * @throws SluiceError `data` where the run is not complete, or a tensor is corrupt; `usage` for a format without tensors; `config`
 *   where the folder holds another run's files.
 */
export async function exportRun(readable: ReadableRun, options: ExportOptions): Promise<string[]> {
  const units = readable.log.unitTotal;
  const commits = await readable.log.readAll(options.signal);
  if (commits.length < units) {
    throw new SluiceError("data", `the run at ${readable.store.uri} is not complete`, {
      found: `${commits.length} of ${plural(units, "shard")}`,
      fix: "Let extract finish first.",
    });
  }
  const withData = commits.filter((commit) => commit.data !== null);
  if (withData.some((commit) => commit.tensors.sample_ids === undefined)) {
    throw new SluiceError("usage", "export reads safetensors runs", {
      found: readable.run.identity.shard_format,
    });
  }
  await makeFolders(options.folder);
  const names = [...options.taps, ...INDEX];
  const fileOf = (name: string) => join(options.folder, `${name}.${options.to}`);
  const files: string[] = [];
  const temporary = await TemporaryFiles.open(options.folder);
  try {
    await claimFolder(options.folder, readable.run.run, names.map(fileOf), temporary);
    for (const name of names) {
      const file = fileOf(name);
      const isNew = !(await isThere(file));
      if (isNew) {
        const written = temporary.newFile();
        await writeTensor(readable, withData, name, { ...options, file: written });
        await rename(written, file);
      }
      options.onFile?.(file, isNew);
      files.push(file);
    }
  } finally {
    await temporary.close();
  }
  return files;
}

/** Files that are there are kept, so all must be of one run: what lies there of another would be taken for this one's. */
async function claimFolder(
  folder: string,
  run: string,
  files: readonly string[],
  temporary: TemporaryFiles,
): Promise<void> {
  const owner = join(folder, OWNER);
  const isUsed = (await Promise.all(files.map(isThere))).includes(true);
  let found = await readOwner(owner);
  if (found === null && !isUsed) {
    const claim = temporary.newFile();
    await writeFile(claim, `${JSON.stringify({ run })}\n`, { flag: "wx" });
    if (await temporary.publish(claim, owner)) return;
    found = await readOwner(owner); // Another export began just now.
  }
  const parsed = ownerSchema.safeParse(found === null ? null : parseJson(found));
  if (parsed.success && parsed.data.run === run) return;
  throw new SluiceError("config", `${folder} holds exported files of another run`, {
    found: parsed.success ? parsed.data.run.slice(0, 12) : `no word of whose they are (${OWNER})`,
    expected: run.slice(0, 12),
    fix: "Name another folder with --output, or remove that one.",
  });
}

async function readOwner(path: string): Promise<string | null> {
  return readFile(path, "utf8").catch((error: unknown) => {
    if (systemCode(error) === "ENOENT") return null;
    throw error;
  });
}

async function isThere(file: string): Promise<boolean> {
  return (await stat(file).catch(() => null)) !== null;
}

async function writeTensor(
  readable: ReadableRun,
  commits: readonly Commit[],
  name: string,
  { to, file, signal }: Pick<ExportOptions, "to" | "signal"> & { readonly file: string },
): Promise<void> {
  const stored = describeWhole(commits, name);
  // numpy has no bfloat16: .npy files hold its values in float32, exactly.
  const dtype: DType = to === "npy" && stored.dtype === "bfloat16" ? "float32" : stored.dtype;
  const { run } = readable.run;
  const out = await open(file, "wx");
  try {
    await out.writeFile(
      to === "npy" ? npyHeader(dtype, stored.shape) : safetensorsHeader(name, dtype, stored.shape, run),
    );
    const offsets = name === OFFSETS ? new JoinedOffsets() : null;
    for await (const piece of readTensorOfEach(readable.store, commits, name, signal)) {
      const bytes = dtype === stored.dtype ? piece.bytes : widen(piece.bytes);
      await out.writeFile(offsets ? offsets.join(piece) : bytes);
    }
    await out.sync();
  } finally {
    await out.close();
  }
}

/** The tensor that all shards' together make. @throws SluiceError `data` where they do not fit together. */
function describeWhole(commits: readonly Commit[], name: string): { dtype: DType; shape: number[] } {
  const places = commits.map((commit) => commit.tensors[name]).filter((place) => place !== undefined);
  const [first] = places;
  if (!first) throw new SluiceError("data", `no shard has a tensor ${name}`);
  const rowOf = ({ dtype, shape }: typeof first) => `${dtype} [${["rows", ...shape.slice(1)].join(", ")}]`;
  const expected = name === OFFSETS ? "int64 [rows]" : rowOf(first);
  const other = places.find((place) => rowOf(place) !== expected);
  if (other)
    throw new SluiceError("data", `${name} is not of one kind in all shards`, {
      found: rowOf(other),
      expected,
    });
  // Of offsets, one shard's last is the next one's first.
  const extra = name === OFFSETS ? 1 : 0;
  const rows = places.reduce((sum, place) => sum + (place.shape[0] ?? 0) - extra, extra);
  return { dtype: first.dtype, shape: [rows, ...first.shape.slice(1)] };
}

/** Offsets into one shard, as they come, to offsets into all. */
class JoinedOffsets {
  #before = 0n;
  #last = 0n;

  join({ bytes, commit, at }: TensorPiece): Uint8Array {
    if (at === 0) this.#before = this.#last;
    const offsets = new BigInt64Array(bytes.slice().buffer).map((offset) => offset + this.#before);
    this.#last = offsets.at(-1) ?? this.#last;
    return new Uint8Array(offsets.buffer).subarray(commit > 0 && at === 0 ? 8 : 0);
  }
}

function widen(bfloat16: Uint8Array): Uint8Array {
  return new Uint8Array(decodeBfloat16(new Uint16Array(bfloat16.slice().buffer)).buffer);
}

/** NumPy's format, version 1.0 (numpy/lib/format.py). */
export function npyHeader(dtype: DType, shape: readonly number[]): Uint8Array {
  const codes: Readonly<Record<DType, string>> = {
    float32: "<f4",
    float16: "<f2",
    bfloat16: "<u2",
    int64: "<i8",
    int32: "<i4",
    uint8: "|u1",
  };
  const tuple = shape.length === 1 ? `${shape[0]},` : shape.join(", ");
  const text = `{'descr': '${codes[dtype]}', 'fortran_order': False, 'shape': (${tuple}), }`;
  const padded = `${text.padEnd(Math.ceil((10 + text.length + 1) / 64) * 64 - 11)}\n`;
  const head = Buffer.from("\x93NUMPY\x01\x00\x00\x00", "latin1");
  head.writeUInt16LE(padded.length, 8);
  return Buffer.concat([head, Buffer.from(padded, "latin1")]);
}

function safetensorsHeader(name: string, dtype: DType, shape: readonly number[], run: string): Uint8Array {
  const length = elementsOf(shape) * bytesOf(dtype);
  const json = JSON.stringify({
    __metadata__: { run },
    [name]: { dtype: safetensorsName(dtype), shape, data_offsets: [0, length] },
  });
  const padded = json.padEnd(Math.ceil((8 + json.length) / 64) * 64 - 8);
  const head = Buffer.alloc(8);
  head.writeBigUInt64LE(BigInt(padded.length));
  return Buffer.concat([head, Buffer.from(padded)]);
}
