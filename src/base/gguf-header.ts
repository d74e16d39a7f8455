// The header of a GGUF file (ggml-org/ggml, docs/gguf.md), versions 2 and 3: metadata, then where each tensor lies. It may
// come from a stranger: every count, length and place is checked before it is used, and work is bounded by the bytes read.

import { open } from "node:fs/promises";
import { SluiceError } from "./errors.js";

/** A metadata value. 64-bit numbers beyond 2^53 stay bigint. */
export type GgufValue = number | bigint | boolean | string | readonly (number | bigint | boolean | string)[];

/** How a tensor's elements are packed: `bytes` hold `elements`. */
export interface GgufPacking {
  readonly name: "F32" | "F16" | "BF16" | "Q8_0" | "Q4_0" | "Q4_1" | "Q4_K" | "Q6_K";
  readonly elements: number;
  readonly bytes: number;
}

/** One tensor of a GGUF file. */
export interface GgufTensor {
  readonly name: string;
  readonly packing: GgufPacking;
  /** Slowest dimension first, as PyTorch says it (the file has it the other way round). */
  readonly shape: readonly number[];
  /** Bytes from the file's start, and how many. */
  readonly offset: number;
  readonly length: number;
}

/** A parsed header. */
export interface GgufHeader {
  readonly metadata: ReadonlyMap<string, GgufValue>;
  /** In order of place. */
  readonly tensors: readonly GgufTensor[];
}

/** Longest header that is read: vocabularies of 256,000 tokens take 15 MB. */
export const MAX_GGUF_HEADER_BYTES = 256 * 2 ** 20;
const MAX_PAIRS = 65_536;
const MAX_TENSORS = 1_000_000;
const MAX_DIMENSIONS = 4;
const MAX_ARRAY = 2 ** 24;
const FIRST_READ = 2 ** 20;
const DEFAULT_ALIGNMENT = 32;

const PACKINGS: Readonly<Record<number, GgufPacking>> = {
  0: { name: "F32", elements: 1, bytes: 4 },
  1: { name: "F16", elements: 1, bytes: 2 },
  2: { name: "Q4_0", elements: 32, bytes: 18 },
  3: { name: "Q4_1", elements: 32, bytes: 20 },
  8: { name: "Q8_0", elements: 32, bytes: 34 },
  12: { name: "Q4_K", elements: 256, bytes: 144 },
  14: { name: "Q6_K", elements: 256, bytes: 210 },
  30: { name: "BF16", elements: 1, bytes: 2 },
};
/** Names of the types that are refused (ggml.h, enum ggml_type). */
const OTHER_TYPES: Readonly<Record<number, string>> = {
  6: "Q5_0",
  7: "Q5_1",
  9: "Q8_1",
  10: "Q2_K",
  11: "Q3_K",
  13: "Q5_K",
  15: "Q8_K",
  16: "IQ2_XXS",
  17: "IQ2_XS",
  18: "IQ3_XXS",
  19: "IQ1_S",
  20: "IQ4_NL",
  21: "IQ3_S",
  22: "IQ2_S",
  23: "IQ4_XS",
  24: "I8",
  25: "I16",
  26: "I32",
  27: "I64",
  28: "F64",
  29: "IQ1_M",
  34: "TQ1_0",
  35: "TQ2_0",
  39: "MXFP4",
  40: "NVFP4",
};

/** Bytes of each fixed-width metadata type. */
const WIDTHS: Readonly<Record<number, number>> = {
  0: 1,
  1: 1,
  2: 2,
  3: 2,
  4: 4,
  5: 4,
  6: 4,
  7: 1,
  10: 8,
  11: 8,
  12: 8,
};
const STRING = 8;
const ARRAY = 9;

/** Reads and checks the header of a GGUF file. @throws SluiceError `config` naming what is wrong, and where. */
export async function readGgufHeader(file: string): Promise<GgufHeader> {
  const handle = await open(file, "r");
  try {
    const { size } = await handle.stat();
    for (let wanted = FIRST_READ; ; wanted *= 4) {
      const bytes = new Uint8Array(Math.min(wanted, size, MAX_GGUF_HEADER_BYTES));
      const { bytesRead } = await handle.read(bytes, 0, bytes.length, 0);
      const fileSize = bytesRead < bytes.length ? bytesRead : size;
      const header = parseGgufHeader(bytes.subarray(0, bytesRead), fileSize, file);
      if (header !== "more") return header;
    }
  } finally {
    await handle.close();
  }
}

/**
 * Parses and checks a header.
 * @param bytes the file's beginning. @param fileSize of the whole file. @param where the file's name in errors.
 * @returns `more` where the header goes on behind `bytes` and the file has more. @throws SluiceError `config`.
 */
export function parseGgufHeader(bytes: Uint8Array, fileSize: number, where: string): GgufHeader | "more" {
  try {
    return new Parser(bytes, where).parse(fileSize);
  } catch (error) {
    if (!(error instanceof OutOfBytes)) throw error;
    if (bytes.length < Math.min(fileSize, MAX_GGUF_HEADER_BYTES)) return "more";
    throw new SluiceError("config", `${where} is truncated, or no GGUF file`, {
      found: `a header that ends behind byte ${bytes.length}, in ${error.inside}`,
      fix: "Download it again.",
    });
  }
}

class OutOfBytes extends Error {
  readonly inside: string;

  constructor(inside: string) {
    super(inside);
    this.inside = inside;
  }
}

class Parser {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #where: string;
  #at = 0;
  /** What is being read, for errors. */
  #inside = "the first bytes";

  constructor(bytes: Uint8Array, where: string) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#where = where;
  }

  parse(fileSize: number): GgufHeader {
    this.#checkVersion();
    const tensorCount = this.#count("the number of tensors", MAX_TENSORS);
    const pairs = this.#count("the number of metadata pairs", MAX_PAIRS);
    const metadata = new Map<string, GgufValue>();
    for (let i = 0; i < pairs; i++) {
      this.#inside = `metadata pair ${i}`;
      const key = this.#string();
      this.#inside = `the value of ${printable(key)}`;
      if (metadata.has(key)) throw this.#fail(`the key ${printable(key)} is there twice`);
      metadata.set(key, this.#value());
    }
    const infos = Array.from({ length: tensorCount }, (_, i) => this.#tensorInfo(i));
    return { metadata, tensors: this.#place(infos, alignmentOf(metadata, this.#where), fileSize) };
  }

  #checkVersion(): void {
    if (this.#bytes.length >= 4 && this.#view.getUint32(0, true) !== 0x46554747)
      throw new SluiceError("config", `${this.#where} is no GGUF file`, {
        expected: "the letters GGUF at its start",
      });
    this.#at = 4;
    const version = this.#u32();
    if (version === 2 || version === 3) return;
    const isSwapped = version === 0x02000000 || version === 0x03000000;
    throw new SluiceError("config", `${this.#where}: this GGUF version is not supported`, {
      found: isSwapped ? "a big-endian file" : String(version),
      expected: "2 or 3, little-endian",
      fix: isSwapped
        ? "Convert it with gguf-convert-endian."
        : "Convert the model again with a newer llama.cpp.",
    });
  }

  #tensorInfo(index: number): { name: string; type: number; shape: number[]; offset: number } {
    this.#inside = `tensor ${index}`;
    const name = this.#string();
    this.#inside = `tensor ${printable(name)}`;
    const dimensions = this.#u32();
    if (dimensions < 1 || dimensions > MAX_DIMENSIONS)
      throw this.#fail("has an impossible number of dimensions", dimensions, `1 to ${MAX_DIMENSIONS}`);
    const shape = Array.from({ length: dimensions }, () => this.#size("a dimension"));
    if (shape.some((n) => n === 0)) throw this.#fail("has an empty dimension", shape.join(" x "));
    const type = this.#u32();
    return { name, type, shape: shape.reverse(), offset: this.#size("the offset") };
  }

  /** Checks that tensors lie aligned within the file, one after the other. */
  #place(
    infos: readonly { name: string; type: number; shape: number[]; offset: number }[],
    alignment: number,
    fileSize: number,
  ): GgufTensor[] {
    const dataStart = Math.ceil(this.#at / alignment) * alignment;
    const names = new Set<string>();
    const tensors = infos.map(({ name, type, shape, offset }): GgufTensor => {
      this.#inside = `tensor ${printable(name)}`;
      if (names.has(name)) throw this.#fail("is there twice");
      names.add(name);
      const packing = PACKINGS[type];
      if (!packing) {
        const supported = Object.values(PACKINGS).map((p) => p.name);
        throw this.#fail(
          "has a type that is not supported",
          OTHER_TYPES[type] ?? `type ${type}`,
          supported.join(", "),
        );
      }
      const columns = shape.at(-1) ?? 0;
      if (columns % packing.elements !== 0)
        throw this.#fail(`does not divide into blocks of ${packing.name}`, `rows of ${columns}`);
      const length = (shape.reduce((product, n) => product * n, 1) / packing.elements) * packing.bytes;
      if (!Number.isSafeInteger(length)) throw this.#fail("has an impossible size", shape.join(" x "));
      if (offset % alignment !== 0)
        throw this.#fail(`is not aligned to ${alignment} bytes`, `offset ${offset}`);
      const end = dataStart + offset + length;
      if (end > fileSize) {
        throw new SluiceError("config", `${this.#where} is truncated in ${this.#inside}`, {
          found: `${fileSize} bytes`,
          expected: `at least ${end}`,
          fix: "Download it again.",
        });
      }
      return { name, packing, shape, offset: dataStart + offset, length };
    });
    tensors.sort((a, b) => a.offset - b.offset);
    for (const [i, tensor] of tensors.entries()) {
      const before = tensors[i - 1];
      this.#inside = `tensor ${printable(tensor.name)}`;
      if (before && before.offset + before.length > tensor.offset)
        throw this.#fail(`overlaps tensor ${printable(before.name)}`);
    }
    return tensors;
  }

  #value(): GgufValue {
    const type = this.#u32();
    if (type !== ARRAY) return this.#scalar(type);
    const of = this.#u32();
    const length = this.#size("the length of an array");
    const width = of === STRING ? 8 : WIDTHS[of];
    if (width === undefined) throw this.#fail("is an array of an unknown type", of);
    if (length > MAX_ARRAY) throw this.#fail("is longer than any array", length, `at most ${MAX_ARRAY}`);
    this.#need(length * width);
    return Array.from({ length }, () => this.#scalar(of));
  }

  #scalar(type: number): number | bigint | boolean | string {
    if (type === STRING) return this.#string();
    const width = WIDTHS[type];
    if (width === undefined) throw this.#fail("has an unknown type", type);
    this.#need(width);
    const at = this.#at;
    this.#at += width;
    const v = this.#view;
    switch (type) {
      case 0:
        return v.getUint8(at);
      case 1:
        return v.getInt8(at);
      case 2:
        return v.getUint16(at, true);
      case 3:
        return v.getInt16(at, true);
      case 4:
        return v.getUint32(at, true);
      case 5:
        return v.getInt32(at, true);
      case 6:
        return v.getFloat32(at, true);
      case 7:
        return v.getUint8(at) !== 0;
      case 10:
        return narrow(v.getBigUint64(at, true));
      case 11:
        return narrow(v.getBigInt64(at, true));
      default:
        return v.getFloat64(at, true);
    }
  }

  #string(): string {
    const length = this.#size("the length of a text");
    this.#need(length);
    const bytes = this.#bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    try {
      return decoder.decode(bytes);
    } catch {
      throw this.#fail("holds a text that is not UTF-8");
    }
  }

  #count(what: string, most: number): number {
    this.#inside = what;
    const count = this.#size(what);
    if (count > most) throw this.#fail("is impossible", count, `at most ${most}`);
    return count;
  }

  #size(what: string): number {
    this.#need(8);
    const value = this.#view.getBigUint64(this.#at, true);
    this.#at += 8;
    if (value > BigInt(Number.MAX_SAFE_INTEGER))
      throw this.#fail(`has ${what} that is impossible`, String(value));
    return Number(value);
  }

  #u32(): number {
    this.#need(4);
    const value = this.#view.getUint32(this.#at, true);
    this.#at += 4;
    return value;
  }

  #need(bytes: number): void {
    if (bytes > MAX_GGUF_HEADER_BYTES)
      throw this.#fail("is longer than any header", `${bytes} bytes`, `at most ${MAX_GGUF_HEADER_BYTES}`);
    if (this.#at + bytes > this.#bytes.length) throw new OutOfBytes(this.#inside);
  }

  #fail(what: string, found?: unknown, expected?: string): SluiceError {
    return new SluiceError("config", `${this.#where}: ${this.#inside} ${what}`, { found, expected });
  }
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function alignmentOf(metadata: ReadonlyMap<string, GgufValue>, where: string): number {
  const value = metadata.get("general.alignment") ?? DEFAULT_ALIGNMENT;
  if (
    typeof value === "number" &&
    Number.isInteger(value) &&
    value >= 8 &&
    value <= 2 ** 20 &&
    value % 8 === 0
  )
    return value;
  throw new SluiceError("config", `${where}: general.alignment is impossible`, {
    found: String(value),
    expected: "a multiple of 8",
  });
}

function narrow(value: bigint): number | bigint {
  return value <= BigInt(Number.MAX_SAFE_INTEGER) && value >= BigInt(Number.MIN_SAFE_INTEGER)
    ? Number(value)
    : value;
}

/** A name from a stranger's file, short and without control characters. */
function printable(text: string): string {
  const plain = text.replace(/\p{C}/gu, "?");
  return plain.length > 80 ? `${plain.slice(0, 77)}...` : plain;
}
