// The header of a safetensors file (huggingface/safetensors, README "Format"): 8 bytes of length, JSON, then the data. It
// may come from a stranger: every number is checked before it is used. What the Python package `safetensors` (0.8) refuses is
// refused here, because a checkpoint that only some tools read is a broken one; and a tensor that is there twice, of which it takes the last.

import { z } from "zod";
import { SluiceError } from "./errors.js";
import { hasKeyTwice, parseJson } from "./parse-json.js";

/** Longest header that is read. */
export const MAX_HEADER_BYTES = 100_000_000;

const BITS: Readonly<Record<string, number>> = {
  C64: 64,
  F64: 64,
  F32: 32,
  BF16: 16,
  F16: 16,
  F8_E4M3: 8,
  F8_E4M3FNUZ: 8,
  F8_E5M2: 8,
  F8_E5M2FNUZ: 8,
  F8_E8M0: 8,
  F6_E2M3: 6,
  F6_E3M2: 6,
  F4: 4,
  I64: 64,
  I32: 32,
  I16: 16,
  I8: 8,
  U64: 64,
  U32: 32,
  U16: 16,
  U8: 8,
  BOOL: 8,
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
 * Parses and checks a header: shapes fit the byte ranges, and these make up all of the file behind the header, each byte once.
 * @param json the bytes after the first 8. @throws SluiceError `data` naming the file and the tensor.
 */
export function parseSafetensorsHeader(json: Uint8Array, fileSize: number, where: string): SafetensorsHeader {
  const fail = (what: string, found?: unknown, expected?: string) =>
    new SluiceError("data", `${where}: ${what}`, { found, expected });
  let text: string;
  let raw: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(json);
    raw = parseJson(text);
  } catch (cause) {
    throw new SluiceError("data", `${where}: the safetensors header is not JSON`, { cause });
  }
  const parsed = z.record(z.string(), z.unknown()).safeParse(raw);
  if (!parsed.success) throw fail("the safetensors header is not an object");
  if (hasKeyTwice(text, raw)) throw fail("the safetensors header has a key twice in one object");
  const dataStart = 8 + json.length;
  const tensors: HeaderTensor[] = [];
  let metadata: Record<string, string> = {};
  for (const [name, value] of Object.entries(parsed.data)) {
    if (name === "__metadata__") {
      const texts = z.record(z.string(), z.string()).nullable().safeParse(value);
      if (!texts.success) throw fail("the safetensors header's __metadata__ is no object of texts");
      metadata = texts.data ?? {};
      continue;
    }
    const tensor = tensorSchema.safeParse(value);
    if (!tensor.success) throw fail(`tensor ${name} has no dtype, shape and offsets`);
    const { dtype, shape, data_offsets } = tensor.data;
    const [from, to] = data_offsets;
    const bits = Object.hasOwn(BITS, dtype) ? BITS[dtype] : undefined;
    if (bits === undefined) throw fail(`tensor ${name} has an unknown dtype`, dtype);
    const bytes = shape.reduce((product, n) => product * n, bits) / 8;
    if (!Number.isSafeInteger(bytes) || to - from !== bytes)
      throw fail(`tensor ${name} has the wrong size`, `${to - from} bytes`, `${bytes} bytes`);
    if (dataStart + to > fileSize)
      throw fail(`truncated in tensor ${name}`, `${fileSize} bytes`, `at least ${dataStart + to}`);
    tensors.push({ name, dtype, shape, start: dataStart + from, end: dataStart + to });
  }
  tensors.sort((a, b) => a.start - b.start || a.end - b.end);
  let end = dataStart;
  let before = "the header";
  for (const tensor of tensors) {
    if (tensor.start < end) throw fail(`tensors ${before} and ${tensor.name} overlap`);
    if (tensor.start > end)
      throw fail(`there is a hole between ${before} and ${tensor.name}`, `${tensor.start - end} bytes`);
    ({ end, name: before } = tensor);
  }
  if (end < fileSize)
    throw fail("the file is longer than its header says", `${fileSize} bytes`, `${end} bytes`);
  return { tensors, metadata, dataStart };
}
