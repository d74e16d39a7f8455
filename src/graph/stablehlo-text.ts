// Writes one function of a StableHLO module as text (the format that every PJRT plug-in parses). Each method is one
// operation of the StableHLO specification, and gives its result with its type, so that a lowering reads like arithmetic.
// https://openxla.org/stablehlo/spec

import type { FloatDType } from "../base/dtype.js";
import { SluiceError } from "../base/errors.js";

/** Element types, as MLIR spells them. */
export type HloType = "f32" | "bf16" | "f16" | "i32" | "i1";

/** MLIR's name of an element type. */
export function typeOf(dtype: FloatDType): HloType {
  return ({ float32: "f32", bfloat16: "bf16", float16: "f16" } as const)[dtype];
}

/** A tensor in a function: its name there, and its type. */
export interface HloValue {
  readonly name: string;
  readonly shape: readonly number[];
  readonly type: HloType;
}

/** Which dimensions of two operands a product runs over. */
export interface DotDimensions {
  readonly batching?: readonly [left: readonly number[], right: readonly number[]];
  readonly contracting: readonly [left: number, right: number];
  /** Of float32 operands: `highest` multiplies all their bits, `high` about 16 at half the price or less (CPUs: all). */
  readonly precision?: "highest" | "high";
}

type Unary = "convert" | "cosine" | "exponential" | "logistic" | "negate" | "rsqrt" | "sine" | "tanh";
type Binary = "add" | "and" | "divide" | "maximum" | "minimum" | "multiply" | "subtract";

/** `tensor<2x3xf32>`. */
export function tensorType({ shape, type }: Omit<HloValue, "name">): string {
  return `tensor<${[...shape, type].join("x")}>`;
}

/** Collects the operations of one function. Values are named in order, so that equal functions have equal text. */
export class HloFunction {
  readonly #lines: string[] = [];
  readonly #arguments: HloValue[] = [];
  /** Of arguments, by their names. */
  readonly #shardings = new Map<string, string>();
  #count = 0;

  /** Adds an argument. @param sharding where it lies (stablehlo-sharding.ts); for the module's main function. */
  argument(shape: readonly number[], type: HloType, sharding?: string): HloValue {
    const value = { name: `%a${this.#arguments.length}`, shape, type };
    this.#arguments.push(value);
    if (sharding !== undefined) this.#shardings.set(value.name, sharding);
    return value;
  }

  /** The function's text. @param head such as `func.func private @name`. @param shardings of the results, as of arguments. */
  text(head: string, results: readonly HloValue[], shardings: readonly (string | undefined)[] = []): string {
    const parameters = this.#arguments.map(
      (a) => `${a.name}: ${tensorType(a)}${attribute(this.#shardings.get(a.name))}`,
    );
    const given = results.map((r, i) => `${tensorType(r)}${attribute(shardings[i])}`);
    const types = results.map(tensorType).join(", ");
    const names = results.map((r) => r.name).join(", ");
    return [
      `  ${head}(${parameters.join(", ")}) -> (${given.join(", ")}) {`,
      ...this.#lines,
      `    return ${names} : ${types}`,
      "  }",
    ].join("\n");
  }

  /** The value, and where it is to lie from here on. @param sharding as {@link argument} takes it. */
  constrain(x: HloValue, sharding: string): HloValue {
    const name = `%v${this.#count++}`;
    this.#lines.push(`    ${name} = sdy.sharding_constraint ${x.name} ${sharding} : ${tensorType(x)}`);
    return { ...x, name };
  }

  /** Calls another function of the module. */
  call(name: string, inputs: readonly HloValue[], results: readonly Omit<HloValue, "name">[]): HloValue[] {
    const result = `%v${this.#count++}`;
    const many = results.length > 1 ? `:${results.length}` : "";
    const types = `(${inputs.map(tensorType).join(", ")}) -> (${results.map(tensorType).join(", ")})`;
    this.#lines.push(
      `    ${result}${many} = call @${name}(${inputs.map((i) => i.name).join(", ")}) : ${types}`,
    );
    return results.map((r, i) => ({ ...r, name: many === "" ? result : `${result}#${i}` }));
  }

  /** A tensor of one value, or of the given ones. */
  constant(value: number | readonly number[], shape: readonly number[], type: HloType): HloValue {
    const spell = (v: number) => (type === "i32" ? String(v) : spellFloat(v, type));
    const text = typeof value === "number" ? spell(value) : `[${value.map(spell).join(", ")}]`;
    return this.#push({ shape, type }, (t) => `constant dense<${text}> : ${t}`);
  }

  /** The place of each element along a dimension. */
  iota(dimension: number, shape: readonly number[], type: HloType): HloValue {
    return this.#push({ shape, type }, (t) => `iota dim = ${dimension} : ${t}`);
  }

  unary(op: Exclude<Unary, "convert">, x: HloValue): HloValue {
    return this.#push(x, (t) => `${op} ${x.name} : ${t}`);
  }

  binary(op: Binary, a: HloValue, b: HloValue): HloValue {
    this.#requireAlike(op, a, b);
    return this.#push(a, (t) => `${op} ${a.name}, ${b.name} : ${t}`);
  }

  /** An operation with a constant of the operand's own shape. */
  binaryWith(op: Binary, a: HloValue, constant: number): HloValue {
    return this.binary(op, a, this.constant(constant, a.shape, a.type));
  }

  compare(how: "LE" | "LT" | "NE", a: HloValue, b: HloValue): HloValue {
    this.#requireAlike("compare", a, b);
    const from = tensorType(a);
    return this.#push(
      { shape: a.shape, type: "i1" },
      (t) => `compare ${how}, ${a.name}, ${b.name} : (${from}, ${from}) -> ${t}`,
    );
  }

  select(condition: HloValue, a: HloValue, b: HloValue): HloValue {
    this.#requireAlike("select", a, b);
    this.#requireAlike("select", { ...a, type: "i1" }, condition);
    return this.#push(
      a,
      (t) => `select ${condition.name}, ${a.name}, ${b.name} : ${tensorType(condition)}, ${t}`,
    );
  }

  /** The value in another element type; the value itself where it has it. */
  convert(x: HloValue, type: HloType): HloValue {
    if (x.type === type) return x;
    return this.#push({ shape: x.shape, type }, (t) => `convert ${x.name} : (${tensorType(x)}) -> ${t}`);
  }

  /** Float32 with the bits that bfloat16 has. Unlike two conversions, which a compiler may leave out. */
  roundToBfloat16(x: HloValue): HloValue {
    this.#require(x.type === "f32", `reduce_precision of ${tensorType(x)}`);
    return this.#push(x, (t) => `reduce_precision ${x.name}, format = e8m7 : ${t}`);
  }

  /** @param dimensions where each dimension of `x` is found in the new shape. */
  broadcast(x: HloValue, shape: readonly number[], dimensions: readonly number[]): HloValue {
    const fits = x.shape.every((n, i) => n === shape[dimensions[i] ?? -1]);
    this.#require(fits, `broadcast of [${x.shape}] to [${shape}] by [${dimensions}]`);
    return this.#push(
      { shape, type: x.type },
      (t) => `broadcast_in_dim ${x.name}, dims = [${dimensions.join(", ")}] : (${tensorType(x)}) -> ${t}`,
    );
  }

  reshape(x: HloValue, shape: readonly number[]): HloValue {
    if (shape.length === x.shape.length && shape.every((n, i) => n === x.shape[i])) return x;
    this.#require(elements(shape) === elements(x.shape), `reshape of [${x.shape}] to [${shape}]`);
    return this.#push({ shape, type: x.type }, (t) => `reshape ${x.name} : (${tensorType(x)}) -> ${t}`);
  }

  transpose(x: HloValue, order: readonly number[]): HloValue {
    const shape = order.map((i) => x.shape[i] ?? 0);
    return this.#push(
      { shape, type: x.type },
      (t) => `transpose ${x.name}, dims = [${order.join(", ")}] : (${tensorType(x)}) -> ${t}`,
    );
  }

  /** The part [from, to) of one dimension; the value itself where that is all of it. */
  slice(x: HloValue, dimension: number, from: number, to: number): HloValue {
    const size = x.shape[dimension] ?? 0;
    this.#require(from >= 0 && from < to && to <= size, `slice [${from}, ${to}) of ${size}`);
    if (from === 0 && to === size) return x;
    const ranges = x.shape.map((n, i) => (i === dimension ? `${from}:${to}` : `0:${n}`));
    const shape = x.shape.map((n, i) => (i === dimension ? to - from : n));
    return this.#push(
      { shape, type: x.type },
      (t) => `slice ${x.name} [${ranges.join(", ")}] : (${tensorType(x)}) -> ${t}`,
    );
  }

  concatenate(parts: readonly HloValue[], dimension: number): HloValue {
    const [first] = parts;
    if (!first) throw new SluiceError("bug", "StableHLO: nothing to concatenate");
    if (parts.length === 1) return first;
    const total = parts.reduce((sum, part) => sum + (part.shape[dimension] ?? 0), 0);
    const shape = first.shape.map((n, i) => (i === dimension ? total : n));
    for (const part of parts) {
      const expected = first.shape.map((n, i) => (i === dimension ? (part.shape[i] ?? 0) : n));
      this.#requireAlike("concatenate", { ...first, shape: expected }, part);
    }
    const [names, types] = [parts.map((p) => p.name), parts.map(tensorType)];
    return this.#push(
      { shape, type: first.type },
      (t) => `concatenate ${names.join(", ")}, dim = ${dimension} : (${types.join(", ")}) -> ${t}`,
    );
  }

  /** Appends rows of zeros, so that the first dimension is `rows` long. */
  padRows(x: HloValue, rows: number): HloValue {
    const [have = 0, ...rest] = x.shape;
    if (rows === have) return x;
    const zero = this.constant(0, [], x.type);
    const zeros = x.shape.map(() => 0).join(", ");
    const high = x.shape.map((_, i) => (i === 0 ? rows - have : 0)).join(", ");
    return this.#push(
      { shape: [rows, ...rest], type: x.type },
      (t) =>
        `pad ${x.name}, ${zero.name}, low = [${zeros}], high = [${high}], interior = [${zeros}] : (${tensorType(x)}, ${tensorType(zero)}) -> ${t}`,
    );
  }

  /** Over one dimension, which is then gone. */
  reduce(op: "add" | "maximum", x: HloValue, dimension: number): HloValue {
    const start = this.constant(op === "add" ? 0 : Number.NEGATIVE_INFINITY, [], x.type);
    const shape = x.shape.filter((_, i) => i !== dimension);
    return this.#push(
      { shape, type: x.type },
      (t) =>
        `reduce(${x.name} init: ${start.name}) applies stablehlo.${op} across dimensions = [${dimension}] : (${tensorType(x)}, ${tensorType(start)}) -> ${t}`,
    );
  }

  /**
   * A matrix product, accumulated in float32 and given as float32. Operands in float32 are multiplied as float32, unless told
   * otherwise: accelerators would take eight bits of them.
   */
  dot(
    a: HloValue,
    b: HloValue,
    { batching = [[], []], contracting, precision = "highest" }: DotDimensions,
  ): HloValue {
    const [batchA, batchB] = batching;
    const [inA, inB] = contracting;
    const alike = a.type === b.type && a.shape[inA] === b.shape[inB];
    const batched = batchA.every((d, i) => a.shape[d] === b.shape[batchB[i] ?? -1]);
    this.#require(alike && batched, `dot_general of ${tensorType(a)} and ${tensorType(b)}`);
    const free = (x: HloValue, batch: readonly number[], inner: number) =>
      x.shape.filter((_, i) => !batch.includes(i) && i !== inner);
    const shape = [...batchA.map((d) => a.shape[d] ?? 0), ...free(a, batchA, inA), ...free(b, batchB, inB)];
    const over = batchA.length > 0 ? `batching_dims = [${batchA.join(", ")}] x [${batchB.join(", ")}], ` : "";
    const bits = a.type === "f32" ? precision.toUpperCase() : "DEFAULT";
    return this.#push(
      { shape, type: "f32" },
      (t) =>
        `dot_general ${a.name}, ${b.name}, ${over}contracting_dims = [${inA}] x [${inB}], precision = [${bits}, ${bits}] : (${tensorType(a)}, ${tensorType(b)}) -> ${t}`,
    );
  }

  /** Rows of a matrix [rows, width] by i32 indices [n]; an index that is out of range is clamped. */
  gatherRows(table: HloValue, indices: HloValue): HloValue {
    const [, width = 0] = table.shape;
    const shape = [indices.shape[0] ?? 0, width];
    const numbers =
      "#stablehlo.gather<offset_dims = [1], collapsed_slice_dims = [0], start_index_map = [0], index_vector_dim = 1>";
    return this.#push(
      { shape, type: table.type },
      (t) =>
        `gather"(${table.name}, ${indices.name}) <{dimension_numbers = ${numbers}, slice_sizes = array<i64: 1, ${width}>, indices_are_sorted = false}> : (${tensorType(table)}, ${tensorType(indices)}) -> ${t}`,
      '"',
    );
  }

  #push(
    { shape, type }: Omit<HloValue, "name">,
    spell: (resultType: string) => string,
    quote: '"' | "" = "",
  ): HloValue {
    const name = `%v${this.#count++}`;
    this.#lines.push(`    ${name} = ${quote}stablehlo.${spell(tensorType({ shape, type }))}`);
    return { name, shape, type };
  }

  #requireAlike(op: string, a: HloValue, b: HloValue): void {
    this.#require(tensorType(a) === tensorType(b), `${op} of ${tensorType(a)} and ${tensorType(b)}`);
  }

  /** Plug-ins tell of such a mistake by line and column of the module; this names the operation while it is written. */
  #require(condition: boolean, what: string): void {
    if (!condition) throw new SluiceError("bug", `StableHLO: ${what} do not fit`);
  }
}

function attribute(sharding: string | undefined): string {
  return sharding === undefined ? "" : ` {sdy.sharding = #sdy.sharding${sharding}}`;
}

function elements(shape: readonly number[]): number {
  return shape.reduce((product, n) => product * n, 1);
}

/** MLIR wants a decimal point, and infinities as bits. Nine digits tell every float32 from its neighbours. */
function spellFloat(value: number, type: HloType): string {
  if (Number.isFinite(value)) return value.toExponential(8);
  if (value !== Number.NEGATIVE_INFINITY) throw new SluiceError("bug", `StableHLO: no constant ${value}`);
  return { f32: "0xFF800000", bf16: "0xFF80", f16: "0xFC00", i32: "", i1: "" }[type];
}
