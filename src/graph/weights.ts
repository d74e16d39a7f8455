// Where a graph's parameters come from. Most lie in files as they are, and an engine that can map files takes them from
// there without a copy. Others lie nowhere: quantised, stored in another order, or merged with an adapter. Those say how
// they are made, and an engine asks for their bytes when it loads.

import type { FloatDType } from "../base/dtype.js";

interface TensorFacts {
  readonly name: string;
  readonly dtype: FloatDType;
  readonly shape: readonly number[];
  /** Bytes in all, little-endian, row-major. */
  readonly length: number;
}

/** One parameter as it lies in a file. */
export interface StoredTensor extends TensorFacts {
  /** Real path (no symbolic link) of the file that holds it. */
  readonly file: string;
  /** Bytes from the file's start. */
  readonly offset: number;
}

/** One parameter that is made from others. */
export interface MadeTensor extends TensorFacts {
  /** What its bytes follow from: the files (path, size, time, inode) and the way. Equal texts mean equal bytes. */
  readonly madeFrom: string;
  /** Gives all its bytes, in order, in pieces of a few megabytes. A piece is valid until the callback returns. */
  fill(take: (piece: Uint8Array) => void): void;
}

/** One parameter. */
export type WeightTensor = StoredTensor | MadeTensor;

/** What a lowering has to know of parameters. */
export interface TensorShapes {
  find(name: string): Pick<WeightTensor, "dtype" | "shape"> | undefined;
}

/** The parameters of one checkpoint. */
export interface Weights extends TensorShapes {
  /** The tensor of that name, or undefined. */
  find(name: string): WeightTensor | undefined;
  names(): Iterable<string>;
}

/** Parameters of which each lies in a file. */
export interface StoredWeights extends Weights {
  find(name: string): StoredTensor | undefined;
}

/** Whether the tensor lies in a file as it is. */
export function isStored(tensor: WeightTensor): tensor is StoredTensor {
  return "file" in tensor;
}
