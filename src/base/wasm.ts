// Assembles WebAssembly modules with 128-bit vectors: just what the arithmetic of rows needs. An expression is the code of its operands and
// then its own, so that what is written here reads as a formula. Codes are those of "WebAssembly Core Specification" 2.0, chapter 5.

/** Code that leaves one value, or does something. */
export type Code = readonly number[];

/** A type of a value: 32-bit integer, or vector. */
export type ValueType = "i32" | "v128";

const TYPES: Readonly<Record<ValueType, number>> = { i32: 0x7f, v128: 0x7b };

/** Unsigned LEB128. */
function unsigned(value: number): number[] {
  return value < 128 ? [value] : [(value & 127) | 128, ...unsigned(value >>> 7)];
}

/** Signed LEB128 of 32 bits. */
function signed(value: number): number[] {
  const rest = value >> 7;
  const isLast = rest === (value & 64 ? -1 : 0);
  return isLast ? [value & 127] : [(value & 127) | 128, ...signed(rest)];
}

const operation =
  (...code: number[]) =>
  (...operands: readonly Code[]): Code => [...operands.flat(), ...code];
const vector = (code: number, ...immediates: number[]) => operation(0xfd, ...unsigned(code), ...immediates);

export const get = (local: number): Code => [0x20, local];
export const set = (local: number, value: Code): Code => [...value, 0x21, local];
/** Sets it and leaves the value. */
export const tee = (local: number, value: Code): Code => [...value, 0x22, local];
export const i32 = (value: number): Code => [0x41, ...signed(value)];
export const add = operation(0x6a);
export const subtract = operation(0x6b);
export const isLess = operation(0x49);
/** Does the body while the condition, looked at after it, is not 0. */
export const repeat = (body: readonly Code[], condition: Code): Code => [
  ...[0x03, 0x40, ...body.flat(), ...condition],
  ...[0x0d, 0, 0x0b],
];

/** 16 bytes at an address, or 8 and zeros; the lanes of a vector to it. */
export const load = vector(0, 0, 0);
export const loadHalf = vector(93, 0, 0);
export const store = (address: Code, value: Code, offset = 0): Code =>
  vector(11, 0, ...unsigned(offset))(address, value);
export const storeHalf = vector(91, 0, 0, 0);
/** The same 32 bits in each lane. */
export const lanes = (bits: number): Code => vector(17)(i32(bits | 0));
export const and = vector(78);
export const or = vector(80);
/** Bits of the first where those of the third are 1, else of the second. */
export const select = vector(82);
export const equals = vector(55);
export const isGreater = vector(59);
export const addLanes = vector(174);
export const subtractLanes = vector(177);
export const largerLanes = vector(185);
export const shiftLeft = (value: Code, bits: number): Code => vector(171)(value, i32(bits));
export const shiftRight = (value: Code, bits: number): Code => vector(173)(value, i32(bits));
/** The lower four 16-bit lanes as 32-bit ones; and back, of values below 65,536, into both halves. */
export const widen = vector(169);
export const narrow = (value: Code): Code => vector(134)(value, value);
export const addFloats = vector(228);
export const multiplyFloats = vector(230);
/** Two float32 lanes, the lower or the higher ones, as float64. */
export const lowDoubles = vector(95);
export const highDoubles = (value: Code): Code =>
  lowDoubles(vector(13, 8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15)(value, value));
export const addDoubles = vector(240);
export const multiplyDoubles = vector(242);

/** A function without a result, which is exported. */
export interface WasmFunction {
  readonly name: string;
  readonly parameters: readonly ValueType[];
  /** Numbered after the parameters; 0 at first. */
  readonly locals: readonly ValueType[];
  readonly body: readonly Code[];
}

/** What Node's types leave out. */
declare const WebAssembly:
  | {
      Memory: new (size: { initial: number; maximum: number }) => { readonly buffer: ArrayBuffer };
      Module: new (module: Uint8Array) => object;
      Instance: new (
        module: object,
        imports: object,
      ) => { readonly exports: Readonly<Record<string, unknown>> };
    }
  | undefined;

/**
 * Functions with their memory. Null where the machine has no such vectors, where Node may compile nothing, and where V8 cannot have the
 * gigabytes of addresses that it reserves for a memory of any size (ulimit -v).
 */
export function instantiate(
  functions: readonly WasmFunction[],
  bytes: number,
): { readonly exports: Readonly<Record<string, unknown>>; readonly memory: ArrayBuffer } | null {
  if (typeof WebAssembly === "undefined") return null;
  const pages = Math.ceil(bytes / 65_536);
  try {
    const module = new WebAssembly.Module(assemble(functions));
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    const { exports } = new WebAssembly.Instance(module, { env: { memory } });
    return { exports, memory: memory.buffer };
  } catch {
    return null;
  }
}

/** The module's bytes. It imports `env.memory`. */
function assemble(functions: readonly WasmFunction[]): Uint8Array {
  const list = (items: readonly Code[]): number[] => [...unsigned(items.length), ...items.flat()];
  const text = (value: string): number[] => list([...Buffer.from(value)].map((byte) => [byte]));
  const sized = (code: Code): number[] => [...unsigned(code.length), ...code];
  const section = (id: number, items: readonly Code[]): number[] => [id, ...sized(list(items))];
  const types = functions.map(({ parameters }) => [0x60, ...list(parameters.map((t) => [TYPES[t]])), 0]);
  const bodies = functions.map(({ locals, body }) =>
    sized([...list(locals.map((type) => [1, TYPES[type]])), ...body.flat(), 0x0b]),
  );
  return Uint8Array.of(
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, types),
    ...section(2, [[...text("env"), ...text("memory"), 2, 0, 1]]),
    ...section(
      3,
      functions.map((_, i) => unsigned(i)),
    ),
    ...section(
      7,
      functions.map(({ name }, i) => [...text(name), 0, ...unsigned(i)]),
    ),
    ...section(10, bodies),
  );
}
