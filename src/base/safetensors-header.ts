// The header of a safetensors file (huggingface/safetensors, README "Format"): 8 bytes of length, JSON, then the data. It
// may come from a stranger: every number is checked before it is used.

import { z } from "zod";
import { SluiceError } from "./errors.js";
import { parseJson } from "./parse-json.js";

/** Longest header that is read. */
export const MAX_HEADER_BYTES = 100_000_000;

const BYTES: Readonly<Record<string, number>> = {
  F64: 8,
  F32: 4,
  BF16: 2,
  F16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U8: 1,
  BOOL: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  U16: 2,
  U32: 4,
  U64: 8,
};
const size = z.number().int().nonnegative();
const tensorSchema = z.object({
  dtype: z.string(),
  shape: z.array(size),
  data_offsets: z.tuple([size, size]),
});

/** One tensor of a safetensors file. */
export interface HeaderTensor {
  readonly name: string;
  /** As in the file: F32, BF16 ... */
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Bytes from the file's start, [start, end). */
  readonly start: number;
  readonly end: number;
}

/** A parsed header. */
export interface SafetensorsHeader {
  /** In order of place. */
  readonly tensors: readonly HeaderTensor[];
  readonly metadata: Readonly<Record<string, string>>;
  readonly dataStart: number;
}

/** The length of the JSON header, from the file's first 8 bytes. @throws SluiceError `data` where it cannot be one. */
export function headerLength(prefix: Uint8Array, fileSize: number, where: string): number {
  const view = new DataView(prefix.buffer, prefix.byteOffset, prefix.byteLength);
  const length = prefix.length < 8 ? 0n : view.getBigUint64(0, true);
  if (length >= 2n && length <= BigInt(MAX_HEADER_BYTES) && length + 8n <= BigInt(fileSize))
    return Number(length);
  if (Buffer.from(prefix).toString("latin1").startsWith("version ")) {
    throw new SluiceError("data", `${where} is a pointer of Git LFS, not the file itself`, {
      found: `${fileSize} bytes`,
      fix: "Fetch it: git lfs pull.",
    });
  }
  throw new SluiceError("data", `${where} is no safetensors file, or is truncated`, {
    found: prefix.length < 8 ? `${fileSize} bytes` : `a header of ${length} bytes in a file of ${fileSize}`,
    expected: `8 bytes of length, and a header of at most ${MAX_HEADER_BYTES} bytes`,
  });
}

/**
 * Parses and checks a header: shapes fit the byte ranges, ranges neither overlap nor pass the file's end.
 * @param json the bytes after the first 8. @throws SluiceError `data` naming the file and the tensor.
 */
export function parseSafetensorsHeader(json: Uint8Array, fileSize: number, where: string): SafetensorsHeader {
  const fail = (what: string, found?: unknown, expected?: string) =>
    new SluiceError("data", `${where}: ${what}`, { found, expected });
  let raw: unknown;
  try {
    raw = parseJson(new TextDecoder("utf-8", { fatal: true }).decode(json));
  } catch (cause) {
    throw new SluiceError("data", `${where}: the safetensors header is not JSON`, { cause });
  }
  const parsed = z.record(z.string(), z.unknown()).safeParse(raw);
  if (!parsed.success) throw fail("the safetensors header is not an object");
  const dataStart = 8 + json.length;
  const tensors: HeaderTensor[] = [];
  let metadata: Record<string, string> = {};
  for (const [name, value] of Object.entries(parsed.data)) {
    if (name === "__metadata__") {
      metadata = z.record(z.string(), z.string()).catch({}).parse(value);
      continue;
    }
    const tensor = tensorSchema.safeParse(value);
    if (!tensor.success) throw fail(`tensor ${name} has no dtype, shape and offsets`);
    const { dtype, shape, data_offsets } = tensor.data;
    const [from, to] = data_offsets;
    const width = BYTES[dtype];
    if (width === undefined) throw fail(`tensor ${name} has an unknown dtype`, dtype);
    const bytes = shape.reduce((product, n) => product * n, width);
    if (!Number.isSafeInteger(bytes) || to - from !== bytes)
      throw fail(`tensor ${name} has the wrong size`, `${to - from} bytes`, `${bytes} bytes`);
    if (dataStart + to > fileSize)
      throw fail(`truncated in tensor ${name}`, `${fileSize} bytes`, `at least ${dataStart + to}`);
    tensors.push({ name, dtype, shape, start: dataStart + from, end: dataStart + to });
  }
  tensors.sort((a, b) => a.start - b.start || a.end - b.end);
  for (const [i, tensor] of tensors.entries()) {
    const before = tensors[i - 1];
    if (before && before.end > tensor.start) throw fail(`tensors ${before.name} and ${tensor.name} overlap`);
  }
  return { tensors, metadata, dataStart };
}
