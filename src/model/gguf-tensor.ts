// One tensor of a GGUF file as PyTorch has it: where it lies, if it lies there as it is, or how it is made.

import { closeSync, openSync } from "node:fs";
import type { FloatDType } from "../base/dtype.js";
import { bytesOf, elementsOf } from "../base/dtype.js";
import { SluiceError } from "../base/errors.js";
import type { GgufTensor } from "../base/gguf-header.js";
import { readFully } from "../base/read-at.js";
import type { StoredTensor, WeightTensor } from "../graph/weights.js";
import type { GgufChange } from "./gguf-architectures.js";
import { isQuantised, widenBlocks } from "./gguf-quants.js";

/** Of a tensor that is made, so many elements are in memory at a time (more where one head or row has more). */
const PIECE_ELEMENTS = 2 ** 20;
const PLAIN: Readonly<Record<string, FloatDType>> = { F32: "float32", F16: "float16", BF16: "bfloat16" };

/** The file that tensors lie in. */
export interface GgufFile {
  /** Real path. */
  readonly path: string;
  /** Path, size, time and inode: what is made from equal ones is equal. */
  readonly identity: string;
}

/**
 * A tensor under Hugging Face's name. Quantised ones become float32; others keep their dtype.
 * @throws SluiceError `config` where the change does not fit the tensor's shape.
 */
export function placeGgufTensor(
  tensor: GgufTensor,
  name: string,
  change: GgufChange | undefined,
  file: GgufFile,
): WeightTensor {
  const { packing, offset } = tensor;
  const dtype = PLAIN[packing.name] ?? "float32";
  if (!isQuantised(packing) && !change) return storedGgufTensor(tensor, name, file);
  const [rows] = matrixOf(tensor, change);
  const fits =
    change?.kind === "interleaved" ? rows % (2 * change.heads) === 0 : tensor.shape.length === 2 || !change;
  if (!fits || (change && isQuantised(packing) && tensor.shape.length === 1)) {
    throw new SluiceError("config", `${file.path}: the tensor ${tensor.name} has an impossible shape`, {
      found: tensor.shape.join(" x "),
      expected: change?.kind === "interleaved" ? `rows of ${change.heads} heads` : "a matrix",
    });
  }
  return {
    name,
    dtype,
    shape: change?.kind === "transposed" ? [...tensor.shape].reverse() : tensor.shape,
    length: elementsOf(tensor.shape) * bytesOf(dtype),
    madeFrom: `${file.identity}: ${packing.name} at ${offset}, ${JSON.stringify(change ?? "as it is")}`,
    fill: (take) => fill(tensor, change, bytesOf(dtype), file.path, take),
  };
}

/** A tensor that lies in the file as it is. */
export function storedGgufTensor(tensor: GgufTensor, name: string, file: GgufFile): StoredTensor {
  const { shape, offset, length, packing } = tensor;
  return { name, dtype: PLAIN[packing.name] ?? "float32", shape, file: file.path, offset, length };
}

/** Rows and columns. A vector is one row, or one column where its rows are to be moved. */
function matrixOf({ shape }: GgufTensor, change: GgufChange | undefined): [rows: number, columns: number] {
  const last = shape.at(-1) ?? 1;
  if (shape.length === 1 && change) return [last, 1];
  return [elementsOf(shape) / last, last];
}

/** Reads, widens and reorders: one head at a time where rows are interleaved, all at once where they are transposed. */
function fill(
  tensor: GgufTensor,
  change: GgufChange | undefined,
  width: number,
  path: string,
  take: (piece: Uint8Array) => void,
): void {
  const { packing } = tensor;
  const [rows, columns] = matrixOf(tensor, change);
  const plain = Math.max(1, Math.floor(PIECE_ELEMENTS / columns));
  const step =
    change?.kind === "interleaved" ? rows / change.heads : change?.kind === "transposed" ? rows : plain;
  const handle = openSync(path, "r");
  try {
    for (let row = 0; row < rows; row += step) {
      const here = Math.min(step, rows - row);
      const packed = new Uint8Array((here * tensor.length) / rows);
      readFully(handle, packed, tensor.offset + (row * tensor.length) / rows, path);
      const values = isQuantised(packing) ? new Uint8Array(widenBlocks(packing, packed).buffer) : packed;
      if (change?.kind === "interleaved") take(separate(values, here, columns * width));
      else if (change?.kind === "transposed") take(transpose(values, here, columns, width));
      else take(values);
    }
  } finally {
    closeSync(handle);
  }
}

/** Rows 0, 2, 4 ... and then rows 1, 3, 5 ... */
function separate(values: Uint8Array, rows: number, rowBytes: number): Uint8Array {
  const out = new Uint8Array(values.length);
  const half = rows / 2;
  for (let row = 0; row < rows; row++) {
    const from = row < half ? 2 * row : 2 * (row - half) + 1;
    out.set(values.subarray(from * rowBytes, (from + 1) * rowBytes), row * rowBytes);
  }
  return out;
}

function transpose(
  values: Uint8Array<ArrayBuffer>,
  rows: number,
  columns: number,
  width: number,
): Uint8Array {
  const Elements = width === 4 ? Uint32Array : Uint16Array;
  const from = new Elements(values.buffer);
  const out = new Elements(from.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++)
      out[column * rows + row] = from[row * columns + column] ?? 0;
  }
  return new Uint8Array(out.buffer);
}
