// Where a graph's parameters come from: named tensors that lie somewhere in files. An engine that can map files takes
// them from there without a copy; others read them.

import type { FloatDType } from "../base/dtype.js";

/** One parameter as it lies in a file, little-endian, row-major. */
export interface WeightTensor {
  readonly name: string;
  readonly dtype: FloatDType;
  readonly shape: readonly number[];
  /** Real path (no symbolic link) of the file that holds it. */
  readonly file: string;
  /** Bytes from the file's start, and how many. */
  readonly offset: number;
  readonly length: number;
}

/** The parameters of one checkpoint. */
export interface Weights {
  /** The tensor of that name, or undefined. */
  find(name: string): WeightTensor | undefined;
  names(): Iterable<string>;
}
