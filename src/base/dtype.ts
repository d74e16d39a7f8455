// The element types of tensors, under the names the command line uses, and their spelling in safetensors headers.
// float16 and bfloat16 values are handled as raw 16-bit patterns: Node 20 has no typed array for either.

/** An element type, named as in NumPy and PyTorch. */
export type DType = "float32" | "bfloat16" | "float16" | "int64" | "int32" | "uint8";

/** An element type in which activations are stored or computed. */
export type FloatDType = "float32" | "bfloat16" | "float16";

const TABLE: Readonly<Record<DType, { bytes: number; safetensors: string }>> = {
  float32: { bytes: 4, safetensors: "F32" },
  bfloat16: { bytes: 2, safetensors: "BF16" },
  float16: { bytes: 2, safetensors: "F16" },
  int64: { bytes: 8, safetensors: "I64" },
  int32: { bytes: 4, safetensors: "I32" },
  uint8: { bytes: 1, safetensors: "U8" },
};

/** Bytes of one element. */
export function bytesOf(dtype: DType): number {
  return TABLE[dtype].bytes;
}

/** The name in a safetensors header, such as `BF16`. */
export function safetensorsName(dtype: DType): string {
  return TABLE[dtype].safetensors;
}

/** The element type of a safetensors name; undefined for one that Sluice does not handle (F64, F8_E4M3, BOOL ...). */
export function dtypeOfSafetensors(name: string): DType | undefined {
  return (Object.keys(TABLE) as DType[]).find((dtype) => TABLE[dtype].safetensors === name);
}

/** The number of elements of a shape; 1 for a scalar. */
export function elementsOf(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}
