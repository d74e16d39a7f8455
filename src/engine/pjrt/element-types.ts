// PJRT_Buffer_Type: the numbers of element types.

import { bytesOf, type DType, elementsOf } from "../../base/dtype.js";
import type { TensorSpec } from "./pjrt.js";

const NUMBERS: Readonly<Record<DType, number>> = {
  float32: 11,
  bfloat16: 13,
  float16: 10,
  int64: 5,
  int32: 4,
  uint8: 6,
};

/** The number of an element type. */
export function elementType(dtype: DType): number {
  return NUMBERS[dtype];
}

/** The element type of a number; undefined for those that Sluice does not use. */
export function dtypeOf(number: number): DType | undefined {
  return (Object.keys(NUMBERS) as DType[]).find((dtype) => NUMBERS[dtype] === number);
}

/** Bytes of a dense tensor. */
export function sizeOf({ dtype, shape }: TensorSpec): number {
  return elementsOf(shape) * bytesOf(dtype);
}

/** `float32[2, 3]`. */
export function describeSpec({
  dtype,
  shape,
}: {
  readonly dtype: string;
  readonly shape: readonly number[];
}): string {
  return `${dtype}[${shape.join(", ")}]`;
}

/** Whether two tensors have the same type and shape. */
export function isSameSpec(a: TensorSpec, b: TensorSpec): boolean {
  return (
    a.dtype === b.dtype && a.shape.length === b.shape.length && a.shape.every((n, i) => n === b.shape[i])
  );
}
