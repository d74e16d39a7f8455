// The lowering to StableHLO: one module for one shape of batch. Parameters are arguments, so that they stay on the device from
// batch to batch. Equal layers are one function called many times. In bfloat16, linear layers have weights in bfloat16 and read
// bfloat16; those that make queries and keys read two terms of it, since scores are exponentiated. All else is float32: what
// products give, attention, norms, the residual stream.

import type { FloatDType } from "../base/dtype.js";
import { SluiceError } from "../base/errors.js";
import type { Graph, GraphNode, ValueId } from "./graph.js";
import { scoreProjections } from "./score-projections.js";
import { type Segment, segmentsOf } from "./segments.js";
import { type Scope, StableHloOps } from "./stablehlo-ops.js";
import { spellMesh, spellSharding } from "./stablehlo-sharding.js";
import { HloFunction, type HloValue, typeOf } from "./stablehlo-text.js";
import type { TensorParallel } from "./tensor-parallel.js";
import type { TensorShapes } from "./weights.js";

/** The static shape of a batch. */
export interface HloShape {
  readonly samples: number;
  /** Tokens of a sample, padding included. */
  readonly length: number;
  /** Rows that are given back at most; without a meaning where the graph reduces. */
  readonly rows: number;
}

/** A parameter as the module takes it. */
export interface HloParameter {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: FloatDType;
  /** The dimension along which each chip has its equal part; null where each has all of it. */
  readonly split: number | null;
}

/** The tokens of a batch, or what is to be given back of it. */
export interface HloInput {
  readonly shape: readonly number[];
  readonly dtype: "int32" | "float32";
}

/** One output: of `rows` rows, the first ones are those asked for. */
export interface HloOutput {
  readonly name: string;
  readonly rows: number;
  /** Chips that have equal parts of the rows, in order; where it is 1, each chip has all of them. */
  readonly parts: number;
  readonly width: number;
  readonly dtype: "float32" | "bfloat16";
}

/** A module and how it is called. */
export interface LoweredStableHlo {
  readonly text: string;
  /**
   * The first arguments: `tokens` i32 [samples, length], then `rows` i32 [rows] (flat indices), or for mean and max `weights` f32
   * [samples, length]: 1 / n at the n rows of a sample that count, and 0 elsewhere.
   */
  readonly inputs: readonly HloInput[];
  /** The arguments after them: the same, in the same order, for every shape. */
  readonly parameters: readonly HloParameter[];
  /** In the order of the graph's taps. */
  readonly outputs: readonly HloOutput[];
}

/** How a graph is lowered. */
export interface HloOptions {
  readonly shape: HloShape;
  readonly compute: "float32" | "bfloat16";
  /** For a program that several chips share: the plan of this graph. */
  readonly plan?: TensorParallel | undefined;
}

/** Lowers a graph for one shape of batch. */
export function lowerToStableHlo(graph: Graph, weights: TensorShapes, options: HloOptions): LoweredStableHlo {
  return new Lowering(graph, weights, options).lower();
}

/** The parameters that the modules of a graph take, whatever their shape. */
export function parametersOf(
  graph: Graph,
  weights: TensorShapes,
  { compute, plan }: Pick<HloOptions, "compute" | "plan">,
): HloParameter[] {
  const parameters = new Map<string, HloParameter>();
  const add = (name: string | null, role: ParameterRole) => {
    if (name === null) return;
    const parameter = parameterOf(weights, name, role, compute);
    parameters.set(`${name} ${parameter.dtype}`, { ...parameter, split: plan?.splitOf(name) ?? null });
  };
  for (const node of graph.nodes) {
    if (node.op === "embed" || node.op === "embedPositions") add(node.weight, "table");
    if (node.op === "linear") add(node.weight, "matrix");
    if (node.op === "rmsNorm" || node.op === "layerNorm") add(node.weight, "vector");
    if (node.op === "linear" || node.op === "layerNorm") add(node.bias, "vector");
  }
  return [...parameters.values()];
}

/** What a parameter is used for, which decides its type on the device. */
export type ParameterRole = "table" | "matrix" | "vector";

/** Tables stay as they are stored: only the rows that are read are widened. */
function parameterOf(
  weights: TensorShapes,
  name: string,
  role: ParameterRole,
  compute: HloOptions["compute"],
): Omit<HloParameter, "split"> {
  const tensor = weights.find(name);
  if (!tensor) throw new SluiceError("bug", `the graph uses ${name}, which the checkpoint does not have`);
  const dtype = { table: tensor.dtype, matrix: compute, vector: "float32" } as const;
  return { name, shape: tensor.shape, dtype: dtype[role] };
}

class Lowering {
  readonly #graph: Graph;
  readonly #weights: TensorShapes;
  readonly #options: HloOptions;
  readonly #main = new HloFunction();
  readonly #tokens: HloValue;
  readonly #selector: HloValue;
  readonly #inputs: readonly HloInput[];
  readonly #parameters: readonly HloParameter[];
  /** Arguments of `main`, by name and dtype: `layers.0.mlp.up_proj.weight float32`. */
  readonly #arguments = new Map<string, HloValue>();
  /** Names of the functions by their text. */
  readonly #functions = new Map<string, string>();
  readonly #values = new Map<ValueId, HloValue>();
  readonly #shared = new Map<string, HloValue>();
  readonly #scoreProjections: ReadonlySet<GraphNode>;

  constructor(graph: Graph, weights: TensorShapes, options: HloOptions) {
    this.#graph = graph;
    this.#weights = weights;
    this.#options = options;
    this.#scoreProjections = scoreProjections(graph);
    const { samples, length, rows } = options.shape;
    const reduces = graph.nodes.some((node) => node.op === "reduceRows");
    const batch = [samples, length];
    this.#tokens = this.#main.argument(batch, "i32", this.#sharding(2, null));
    this.#selector = reduces
      ? this.#main.argument(batch, "f32", this.#sharding(2, null))
      : this.#main.argument([rows], "i32", this.#sharding(1, null));
    this.#inputs = [
      { shape: batch, dtype: "int32" },
      reduces ? { shape: batch, dtype: "float32" } : { shape: [rows], dtype: "int32" },
    ];
    this.#parameters = parametersOf(graph, weights, options);
    for (const { name, shape, dtype, split } of this.#parameters) {
      const argument = this.#main.argument(shape, typeOf(dtype), this.#sharding(shape.length, split));
      this.#arguments.set(`${name} ${dtype}`, argument);
    }
  }

  lower(): LoweredStableHlo {
    const ops = new StableHloOps(this.#main, this.#options, this.#mainScope());
    for (const segment of segmentsOf(this.#graph)) this.#callSegment(segment);
    const outputs: HloOutput[] = [];
    const results: HloValue[] = [];
    for (const [i, node] of this.#graph.nodes.entries()) {
      if (this.#values.has(i)) continue;
      const value = ops.emit(node);
      this.#values.set(i, value);
      if (node.op !== "tap") continue;
      const [rows = 0] = value.shape;
      const { name, width, dtype } = node;
      results.push(value);
      outputs.push({ name, rows, parts: this.#partsOf(rows), width, dtype });
    }
    const functions = [...this.#functions].map(([text, name]) =>
      text.replace("func.func private @", `func.func private @${name}`),
    );
    const shardings = outputs.map(({ parts }) => this.#sharding(2, parts > 1 ? 0 : null));
    const main = this.#main.text("func.func public @main", results, shardings);
    const { attributes, mesh } = spellMesh(this.#options.plan);
    const text = `module @sluice${attributes} {\n${mesh}${[main, ...functions].join("\n")}\n}\n`;
    return { text, inputs: this.#inputs, parameters: this.#parameters, outputs };
  }

  /** Each chip gives back its part of the rows, so that an output lies once on all chips, and is copied from all of them. */
  #partsOf(rows: number): number {
    const chips = this.#options.plan?.chips ?? 1;
    return rows % chips === 0 ? chips : 1;
  }

  #sharding(rank: number, dimension: number | null): string | undefined {
    const { plan } = this.#options;
    return plan && spellSharding(plan, rank, dimension);
  }

  /** Writes the segment as a function, or finds the one that is equal, and calls it. */
  #callSegment({ nodes, results }: Segment): void {
    const body = new HloFunction();
    const inputs = new Map<HloValue, HloValue>();
    /** What the function reads from outside becomes an argument when it is first asked for. */
    const take = (outer: HloValue): HloValue => {
      const known = inputs.get(outer);
      if (known) return known;
      const argument = body.argument(outer.shape, outer.type);
      inputs.set(outer, argument);
      return argument;
    };
    const inner = new Map<ValueId, HloValue>();
    const outer = this.#mainScope();
    const ops = new StableHloOps(body, this.#options, {
      value: (id) => inner.get(id) ?? take(outer.value(id)),
      parameter: (name, role) => take(outer.parameter(name, role)),
      tokens: () => take(outer.tokens()),
      selector: () => take(outer.selector()),
      makesScores: (node) => outer.makesScores(node),
      shared: (key, make) => take(outer.shared(key, make)),
    });
    for (const id of nodes) inner.set(id, ops.emit(this.#node(id)));
    const given = results.map((id) => get(inner, id));
    const text = body.text("func.func private @", given);
    const name = this.#functions.get(text) ?? `part${this.#functions.size}`;
    this.#functions.set(text, name);
    const called = this.#main.call(name, [...inputs.keys()], given);
    for (const [i, id] of results.entries()) {
      const value = called[i];
      if (value) this.#values.set(id, value);
    }
    // Nobody outside reads the others; they must not be emitted again.
    for (const id of nodes) if (!this.#values.has(id)) this.#values.set(id, get(inner, id));
  }

  #mainScope(): Scope {
    return {
      value: (id) => get(this.#values, id),
      parameter: (name, role) => {
        const { dtype } = parameterOf(this.#weights, name, role, this.#options.compute);
        return get(this.#arguments, `${name} ${dtype}`);
      },
      tokens: () => this.#tokens,
      selector: () => this.#selector,
      makesScores: (node) => this.#scoreProjections.has(node),
      shared: (key, make) => {
        const known = this.#shared.get(key) ?? make(this.#main);
        this.#shared.set(key, known);
        return known;
      },
    };
  }

  #node(id: ValueId): GraphNode {
    const node = this.#graph.nodes[id];
    if (!node) throw new SluiceError("bug", `graph: there is no value %${id}`);
    return node;
  }
}

function get<K>(values: ReadonlyMap<K, HloValue>, key: K): HloValue {
  const value = values.get(key);
  if (!value) throw new SluiceError("bug", `StableHLO: there is no value ${String(key)}`);
  return value;
}
