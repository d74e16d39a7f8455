// Casts and sums of values by vectors of 128 bits, in WebAssembly, which every Node brings: several times as fast as loops over typed
// arrays, and the same to the last bit. Where a machine has no such vectors, the loops (float16.ts, row-sums.ts) do it.

import { bytesOf, type FloatDType } from "../base/dtype.js";
import * as w from "../base/wasm.js";
import { decodeRows } from "./decode.js";
import { type EachRow, sumRows } from "./row-sums.js";

/** Bytes of values that are worked on at once. */
const PIECE_BYTES = 256 << 10;
/** Of a row: four partial sums, four of squares, and four times the largest bits. */
const RESULT_BYTES = 80;
const MOST_ROWS = 1024;
/** Where each lies in the memory. */
const [VALUES, PATTERNS, RESULTS] = [0, PIECE_BYTES, 2 * PIECE_BYTES];
const MEMORY_BYTES = RESULTS + MOST_ROWS * RESULT_BYTES;

type Sixteen = "bfloat16" | "float16";
type SumRows = (at: number, rows: number, vectorBytes: number, rowBytes: number, results: number) => void;
type Encode = (from: number, end: number, to: number, results: number) => void;

/** Four float32 at an address. */
function loadFloats(dtype: FloatDType, address: w.Code, scratch: number): w.Code {
  if (dtype === "float32") return w.load(address);
  const patterns = w.widen(w.loadHalf(address));
  if (dtype === "bfloat16") return w.shiftLeft(patterns, 16);
  // A float16 moved to a float32's place is 2^-112 of its value, also below the smallest normal one; infinity and NaN keep their fraction.
  const size = w.and(w.get(scratch), w.lanes(0x7fff));
  const value = w.multiplyFloats(w.shiftLeft(size, 13), w.lanes(0x77800000));
  const special = w.and(w.isGreater(size, w.lanes(0x7bff)), w.lanes(0x7f800000));
  const sign = w.shiftLeft(w.and(w.tee(scratch, patterns), w.lanes(0x8000)), 16);
  return w.or(sign, w.or(value, special));
}

function sumRowsFunction(dtype: FloatDType): w.WasmFunction {
  const [at, rows, vectorBytes, rowBytes, results, i, end] = [0, 1, 2, 3, 4, 5, 6];
  const [v, low, high, s0, s1, q0, q1, largest] = [7, 8, 9, 10, 11, 12, 13, 14];
  const get = w.get;
  const accumulate = (sum: number, value: w.Code) => w.set(sum, w.addDoubles(get(sum), value));
  return {
    name: `sum_${dtype}`,
    parameters: ["i32", "i32", "i32", "i32", "i32"],
    locals: ["i32", "i32", ...Array.from({ length: 8 }, () => "v128" as const)],
    body: [
      w.repeat(
        [
          ...[s0, s1, q0, q1, largest].map((sum) => w.set(sum, w.lanes(0))),
          w.set(end, w.add(w.tee(i, get(at)), get(vectorBytes))),
          w.repeat(
            [
              w.set(v, loadFloats(dtype, get(i), v)),
              w.set(low, w.lowDoubles(get(v))),
              w.set(high, w.highDoubles(get(v))),
              accumulate(s0, get(low)),
              accumulate(s1, get(high)),
              accumulate(q0, w.multiplyDoubles(get(low), get(low))),
              accumulate(q1, w.multiplyDoubles(get(high), get(high))),
              // Without its sign a float grows with its bits.
              w.set(largest, w.largerLanes(get(largest), w.and(get(v), w.lanes(0x7fffffff)))),
            ],
            w.isLess(w.tee(i, w.add(get(i), w.i32(4 * bytesOf(dtype)))), get(end)),
          ),
          ...[s0, s1, q0, q1, largest].map((sum, k) => w.store(get(results), get(sum), 16 * k)),
          w.set(results, w.add(get(results), w.i32(RESULT_BYTES))),
          w.set(at, w.add(get(at), get(rowBytes))),
        ],
        w.tee(rows, w.subtract(get(rows), w.i32(1))),
      ),
    ],
  };
}

/** To nearest, ties to even; a NaN stays one: as in float16.ts. Finite values that become infinite float16 are counted, by lane. */
function encodeFunction(to: Sixteen): w.WasmFunction {
  const [from, end, out, results] = [0, 1, 2, 3];
  const [bits, size, pattern, overflow] = [4, 5, 6, 7];
  const get = w.get;
  const round = (value: w.Code, shift: number) => {
    const odd = w.and(w.shiftRight(value, shift), w.lanes(1));
    return w.shiftRight(w.addLanes(w.addLanes(value, w.lanes(2 ** (shift - 1) - 1)), odd), shift);
  };
  const isNan = w.isGreater(get(size), w.lanes(0x7f800000));
  const toBfloat16 = w.select(w.or(w.shiftRight(get(bits), 16), w.lanes(0x40)), round(get(bits), 16), isNan);
  const normal = round(w.subtractLanes(get(size), w.lanes(0x38000000)), 13);
  const small = w.subtractLanes(w.addFloats(get(size), w.lanes(0x3f000000)), w.lanes(0x3f000000));
  const finite = w.select(small, normal, w.isGreater(w.lanes(0x38800000), get(size)));
  const limited = w.select(w.lanes(0x7c00), finite, w.isGreater(get(size), w.lanes(0x477fffff)));
  const sign = w.and(w.shiftRight(get(bits), 16), w.lanes(0x8000));
  const toFloat16 = w.or(sign, w.select(w.lanes(0x7e00), limited, isNan));
  const isInfinite = w.equals(w.and(get(pattern), w.lanes(0x7fff)), w.lanes(0x7c00));
  const isOverflow = w.and(isInfinite, w.isGreater(w.lanes(0x7f800000), get(size)));
  return {
    name: `encode_${to}`,
    parameters: ["i32", "i32", "i32", "i32"],
    locals: ["v128", "v128", "v128", "v128"],
    body: [
      w.repeat(
        [
          w.set(size, w.and(w.tee(bits, w.load(get(from))), w.lanes(0x7fffffff))),
          w.set(pattern, to === "bfloat16" ? toBfloat16 : toFloat16),
          w.storeHalf(get(out), w.narrow(get(pattern))),
          ...(to === "float16" ? [w.set(overflow, w.subtractLanes(get(overflow), isOverflow))] : []),
          w.set(out, w.add(get(out), w.i32(8))),
        ],
        w.isLess(w.tee(from, w.add(get(from), w.i32(16))), get(end)),
      ),
      w.store(get(results), get(overflow)),
    ],
  };
}

/** Arithmetic of rows in one memory: a call is over before the next begins. */
export class VectorRows {
  readonly #exports: Readonly<Record<string, unknown>>;
  readonly #bytes: Uint8Array;
  readonly #floats: Float32Array;
  readonly #patterns: Uint16Array;
  readonly #doubles: Float64Array;
  readonly #words: Uint32Array;
  /** The same as values. */
  readonly #results: Float32Array;

  constructor(exports: Readonly<Record<string, unknown>>, memory: ArrayBuffer) {
    this.#exports = exports;
    this.#bytes = new Uint8Array(memory);
    this.#floats = new Float32Array(memory, VALUES, PIECE_BYTES / 4);
    this.#patterns = new Uint16Array(memory, PATTERNS, PIECE_BYTES / 4);
    this.#doubles = new Float64Array(memory, RESULTS);
    this.#words = new Uint32Array(memory, RESULTS);
    this.#results = new Float32Array(memory, RESULTS);
  }

  /** As {@link sumRows}. */
  sumRows(data: Uint8Array, dtype: FloatDType, width: number, each: EachRow): void {
    const rowBytes = width * bytesOf(dtype);
    const inVectors = width - (width % 4);
    const rowsAtOnce = Math.min(MOST_ROWS, Math.floor(PIECE_BYTES / rowBytes));
    if (inVectors === 0 || rowsAtOnce === 0) {
      sumRows(data, dtype, width, each);
      return;
    }
    const sum = this.#exports[`sum_${dtype}`] as SumRows;
    const out = { sum: 0, squares: 0, max: 0 };
    const rows = data.length / rowBytes;
    for (let first = 0, count = 0; first < rows; first += count) {
      count = Math.min(rowsAtOnce, rows - first);
      this.#bytes.set(data.subarray(first * rowBytes, (first + count) * rowBytes), VALUES);
      sum(VALUES, count, inVectors * bytesOf(dtype), rowBytes, RESULTS);
      for (let k = 0; k < count; k++) {
        const d = (k * RESULT_BYTES) / 8;
        const at = (index: number) => this.#doubles[d + index] ?? 0;
        let [s0, q0, max] = [at(0), at(4), this.#largest(2 * d + 16)];
        for (let i = inVectors; i < width; i++) {
          const start = (k * width + i) * bytesOf(dtype);
          const [v = 0] = decodeRows(this.#bytes.slice(start, start + bytesOf(dtype)), dtype);
          s0 += v;
          q0 += v * v;
          max = Math.max(max, Math.abs(v));
        }
        out.sum = s0 + at(1) + (at(2) + at(3));
        out.squares = q0 + at(5) + (at(6) + at(7));
        out.max = max;
        each(first + k, out);
      }
    }
  }

  /** Patterns of values. @returns how many finite ones became infinite, too; of float16 alone. */
  encode(values: Float32Array, to: Sixteen): { patterns: Uint16Array; overflow: number } {
    const encode = this.#exports[`encode_${to}`] as Encode;
    const patterns = new Uint16Array(values.length);
    let overflow = 0;
    for (let done = 0, count = 0; done < values.length; done += count) {
      count = Math.min(PIECE_BYTES / 4, values.length - done);
      this.#floats.set(values.subarray(done, done + count));
      this.#floats.fill(0, count, count + 3);
      encode(VALUES, VALUES + 4 * count, PATTERNS, RESULTS);
      patterns.set(this.#patterns.subarray(0, count), done);
      for (let lane = 0; lane < 4; lane++) overflow += this.#words[lane] ?? 0;
    }
    return { patterns, overflow };
  }

  /** The largest of four float32 without signs, by their bits. */
  #largest(word: number): number {
    let at = word;
    for (let lane = 1; lane < 4; lane++)
      if ((this.#words[word + lane] ?? 0) > (this.#words[at] ?? 0)) at = word + lane;
    return this.#results[at] ?? 0;
  }
}

let known: VectorRows | null | undefined;

/** Null where the machine has no such vectors. */
export function vectorRows(): VectorRows | null {
  if (known === undefined) known = openVectorRows();
  return known;
}

function openVectorRows(): VectorRows | null {
  const sums = (["float32", "bfloat16", "float16"] as const).map(sumRowsFunction);
  const encodings = (["bfloat16", "float16"] as const).map(encodeFunction);
  const made = w.instantiate([...sums, ...encodings], MEMORY_BYTES);
  return made && new VectorRows(made.exports, made.memory);
}
