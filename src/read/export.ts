// `sluice export`: a run's tensors as one file each, all samples one after the other in the order of stream and unit. Plain
// formats; resumable, because a file exists only when it is whole.

import { open, rename, stat } from "node:fs/promises";
import { join } from "node:path";
import { bytesOf, type DType, elementsOf, safetensorsName } from "../base/dtype.js";
import { SluiceError } from "../base/errors.js";
import { decodeBfloat16 } from "../base/float16.js";
import type { Commit } from "../run/commit.js";
import { makeFolders } from "../store/file-system.js";
import type { ReadableRun } from "./open-run.js";
import { readTensor } from "./read-tensor.js";

/** What to export. */
export interface ExportOptions {
  readonly to: "safetensors" | "npy";
  readonly folder: string;
  /** Full names of the taps. */
  readonly taps: readonly string[];
  readonly onFile?: (file: string, isNew: boolean) => void;
}

const INDEX = [
  "sample_ids",
  "sample_parts",
  "token_ids",
  "positions",
  "token_flags",
  "sample_offsets",
] as const;

/**
 * Exports the taps and the index of a complete run.
 * @throws SluiceError `data` where the run is not complete, or a tensor is corrupt; `usage` for a format without tensors.
 */
export async function exportRun(readable: ReadableRun, options: ExportOptions): Promise<string[]> {
  const units = readable.log.unitTotal;
  const commits = await readable.log.readAll();
  if (commits.length < units) {
    throw new SluiceError("data", `the run at ${readable.store.uri} is not complete`, {
      found: `${commits.length} of ${units} shards`,
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
  const files: string[] = [];
  for (const name of [...options.taps, ...INDEX]) {
    const file = join(options.folder, `${name}.${options.to}`);
    const isNew = !(await stat(file).catch(() => null));
    if (isNew) await writeTensor(readable, withData, name, options.to, file);
    options.onFile?.(file, isNew);
    files.push(file);
  }
  return files;
}

async function writeTensor(
  readable: ReadableRun,
  commits: readonly Commit[],
  name: string,
  to: "safetensors" | "npy",
  file: string,
): Promise<void> {
  const places = commits.map((commit) => commit.tensors[name]).filter((place) => place !== undefined);
  const [first] = places;
  if (!first) throw new SluiceError("data", `no shard has a tensor ${name}`);
  const isOffsets = name === "sample_offsets";
  const rows = places.reduce(
    (sum, place) => sum + (place.shape[0] ?? 0) - (isOffsets ? 1 : 0),
    isOffsets ? 1 : 0,
  );
  const shape = [rows, ...first.shape.slice(1)];
  // numpy has no bfloat16: .npy files hold its values in float32, exactly.
  const dtype: DType = to === "npy" && first.dtype === "bfloat16" ? "float32" : first.dtype;
  const out = await open(`${file}.tmp`, "w");
  try {
    await out.writeFile(
      to === "npy" ? npyHeader(dtype, shape) : safetensorsHeader(name, dtype, shape, readable.run.run),
    );
    let before = 0n;
    for (const [i, commit] of commits.entries()) {
      let bytes = await readTensor(readable.store, commit, name);
      if (dtype !== first.dtype) {
        const values = decodeBfloat16(new Uint16Array(bytes.slice().buffer));
        bytes = new Uint8Array(values.buffer);
      }
      if (isOffsets) {
        const offsets = new BigInt64Array(bytes.slice().buffer).map((offset) => offset + before);
        before = offsets.at(-1) ?? before;
        bytes = new Uint8Array(offsets.buffer).subarray(i === 0 ? 0 : 8);
      }
      await out.writeFile(bytes);
    }
    await out.sync();
  } finally {
    await out.close();
  }
  await rename(`${file}.tmp`, file);
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
