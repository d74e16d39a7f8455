// Each operation of the graph in StableHLO. A value is a float32 matrix [rows, features], whatever the compute dtype: that is the
// type of what matrix products read (and of what a tap gives).

import type { ActivationKind, GraphNode, ValueId } from "./graph.js";
import type { HloOptions, ParameterRole } from "./stablehlo.js";
import { attend } from "./stablehlo-attention.js";
import { spellSharding } from "./stablehlo-sharding.js";
import { type HloFunction, type HloValue, typeOf } from "./stablehlo-text.js";
import type { Layout } from "./tensor-parallel.js";

/** Where an operation finds what it reads. */
export interface Scope {
  value(id: ValueId): HloValue;
  parameter(name: string, role: ParameterRole): HloValue;
  /** i32 [samples, length]. */
  tokens(): HloValue;
  /** The second argument of the module: the rows to give back, or the weights of what is reduced. */
  selector(): HloValue;
  /** Whether a linear layer makes queries or keys (graph/score-projections.ts). */
  makesScores(node: GraphNode): boolean;
  /** A value that many operations use and no layer changes: made once, in the module's main function. */
  shared(key: string, make: (main: HloFunction) => HloValue): HloValue;
}

/** Writes operations into one function. */
export class StableHloOps {
  readonly #f: HloFunction;
  readonly #options: HloOptions;
  readonly #scope: Scope;

  constructor(f: HloFunction, options: HloOptions, scope: Scope) {
    this.#f = f;
    this.#options = options;
    this.#scope = scope;
  }

  /** Writes one node. */
  emit(node: GraphNode): HloValue {
    const f = this.#f;
    const at = (id: ValueId) => this.#scope.value(id);
    const { samples, length } = this.#options.shape;
    switch (node.op) {
      case "embed": {
        const ids = f.reshape(this.#scope.tokens(), [samples * length]);
        const rows = f.gatherRows(this.#scope.parameter(node.weight, "table"), ids);
        return f.convert(this.#place(node, rows), "f32");
      }
      case "embedPositions":
        return this.#embedPositions(this.#scope.parameter(node.weight, "table"), node.width);
      case "linear":
        return this.#linear(node, at(node.x));
      case "rmsNorm":
        return this.#rmsNorm(node, at(node.x));
      case "layerNorm":
        return this.#layerNorm(node, at(node.x));
      case "rope":
        return this.#rope(node, at(node.x));
      case "attention":
        return attend(f, node, at(node.q), at(node.k), at(node.v), this.#options);
      case "slice":
        return this.#slice(node, at(node.x));
      case "scale":
        return f.binaryWith("multiply", at(node.x), node.factor);
      case "activation":
        return this.#activate(at(node.x), node.kind);
      case "add":
        return f.binary("add", at(node.a), at(node.b));
      case "mul":
        return f.binary("multiply", at(node.a), at(node.b));
      case "selectRows":
        return f.gatherRows(at(node.x), this.#scope.selector());
      case "reduceRows":
        return this.#reduceRows(at(node.x), node.kind, node.width);
      case "cast":
        return f.convert(at(node.x), typeOf(node.dtype));
      case "tap":
        return at(node.x);
    }
  }

  /** On several chips: puts rows where the plan has them. Other values are where those are that they are made from. */
  #place(node: GraphNode, rows: HloValue): HloValue {
    const { plan } = this.#options;
    if (!plan) return rows;
    const spell = (layout: Layout) =>
      spellSharding(plan, 2, layout === "whole" ? null : 1, layout === "heads" ? "heads" : "chips");
    return plan.layoutsOf(node).reduce((x, layout) => this.#f.constrain(x, spell(layout)), rows);
  }

  /** A vector along the features of a matrix, or along the last dimension. */
  #along(vector: HloValue, x: HloValue): HloValue {
    return this.#f.broadcast(vector, x.shape, [x.shape.length - 1]);
  }

  /** Positions beyond the table are those of padding alone: zeros. */
  #embedPositions(table: HloValue, width: number): HloValue {
    const f = this.#f;
    const { samples, length } = this.#options.shape;
    const rows = f.slice(table, 0, 0, Math.min(length, table.shape[0] ?? 0));
    const one = f.padRows(f.convert(rows, "f32"), length);
    return f.reshape(f.broadcast(one, [samples, length, width], [1, 2]), [samples * length, width]);
  }

  #linear(node: GraphNode & { op: "linear" }, x: HloValue): HloValue {
    const f = this.#f;
    const weight = this.#scope.parameter(node.weight, "matrix");
    const times = (rows: HloValue) =>
      f.dot(f.convert(rows, weight.type), weight, { contracting: [1, node.inputMajor ? 0 : 1] });
    const isPrecise = weight.type === "bf16" && this.#scope.makesScores(node);
    const product = this.#place(node, isPrecise ? this.#inTwoTerms(x, times) : times(x));
    if (node.bias === null) return product;
    return f.binary("add", product, this.#along(this.#scope.parameter(node.bias, "vector"), product));
  }

  /** What is read as the sum of two bfloat16 numbers, 16 bits. */
  #inTwoTerms(x: HloValue, times: (part: HloValue) => HloValue): HloValue {
    const first = this.#f.roundToBfloat16(x);
    return this.#f.binary("add", times(first), times(this.#f.binary("subtract", x, first)));
  }

  #rmsNorm(node: GraphNode & { op: "rmsNorm" }, x: HloValue): HloValue {
    const f = this.#f;
    const [rows = 0, width = 0] = x.shape;
    const parts = f.reshape(x, [rows, node.groups, width / node.groups]);
    const root = this.#inverseRoot(this.#mean(f.binary("multiply", parts, parts)), node.epsilon);
    const normal = f.binary("multiply", parts, f.broadcast(root, parts.shape, [0, 1]));
    return f.reshape(this.#gain(node, normal), x.shape);
  }

  #gain({ weight, offset }: GraphNode & { op: "rmsNorm" }, normal: HloValue): HloValue {
    if (weight === null) return normal;
    const stored = this.#scope.parameter(weight, "vector");
    const gain = offset === 0 ? stored : this.#f.binaryWith("add", stored, offset);
    return this.#f.binary("multiply", normal, this.#along(gain, normal));
  }

  #layerNorm(node: GraphNode & { op: "layerNorm" }, x: HloValue): HloValue {
    const f = this.#f;
    const centred = f.binary("subtract", x, f.broadcast(this.#mean(x), x.shape, [0]));
    const root = this.#inverseRoot(this.#mean(f.binary("multiply", centred, centred)), node.epsilon);
    let y = f.binary("multiply", centred, f.broadcast(root, x.shape, [0]));
    if (node.weight !== null)
      y = f.binary("multiply", y, this.#along(this.#scope.parameter(node.weight, "vector"), y));
    if (node.bias !== null)
      y = f.binary("add", y, this.#along(this.#scope.parameter(node.bias, "vector"), y));
    return y;
  }

  /** Over the last dimension. */
  #mean(x: HloValue): HloValue {
    const last = x.shape.length - 1;
    return this.#f.binaryWith("divide", this.#f.reduce("add", x, last), x.shape[last] ?? 1);
  }

  #inverseRoot(x: HloValue, epsilon: number): HloValue {
    return this.#f.unary("rsqrt", this.#f.binaryWith("add", x, epsilon));
  }

  #rope(node: GraphNode & { op: "rope" }, x: HloValue): HloValue {
    const f = this.#f;
    const { samples, length } = this.#options.shape;
    const [cos, sin] = [this.#wave("cosine", node), this.#wave("sine", node)];
    const headWidth = node.width / node.heads;
    const half = node.frequencies.length;
    const heads = f.reshape(x, [samples, length, node.heads, headWidth]);
    const [a, b] = [f.slice(heads, 3, 0, half), f.slice(heads, 3, half, 2 * half)];
    const times = (part: HloValue, wave: HloValue) =>
      f.binary("multiply", part, f.broadcast(wave, part.shape, [1, 3]));
    const turned = [
      f.binary("subtract", times(a, cos), times(b, sin)),
      f.binary("add", times(b, cos), times(a, sin)),
    ];
    const rest = 2 * half < headWidth ? [f.slice(heads, 3, 2 * half, headWidth)] : [];
    return f.reshape(f.concatenate([...turned, ...rest], 3), x.shape);
  }

  /** f32 [length, pairs]: the angles' cosines or sines, times the amplitude. */
  #wave(of: "cosine" | "sine", { frequencies, amplitude }: GraphNode & { op: "rope" }): HloValue {
    const shape = [this.#options.shape.length, frequencies.length];
    return this.#scope.shared(`${of} ${amplitude} ${frequencies.join(" ")}`, (main) => {
      const table = main.broadcast(main.constant(frequencies, [frequencies.length], "f32"), shape, [1]);
      const wave = main.unary(of, main.binary("multiply", main.iota(0, shape, "f32"), table));
      return amplitude === 1 ? wave : main.binaryWith("multiply", wave, amplitude);
    });
  }

  #slice({ groups, from, width }: GraphNode & { op: "slice" }, x: HloValue): HloValue {
    const f = this.#f;
    const [rows = 0, whole = 0] = x.shape;
    const parts = f.reshape(x, [rows, groups, whole / groups]);
    return f.reshape(f.slice(parts, 2, from, from + width / groups), [rows, width]);
  }

  #activate(x: HloValue, kind: ActivationKind): HloValue {
    const f = this.#f;
    switch (kind) {
      case "silu":
        return f.binary("multiply", x, f.unary("logistic", x));
      case "relu":
        return f.binaryWith("maximum", x, 0);
      case "gelu_tanh": {
        const cube = f.binary("multiply", x, f.binary("multiply", x, x));
        const inner = f.binary("add", x, f.binaryWith("multiply", cube, 0.044715));
        return this.#halfOf(x, f.unary("tanh", f.binaryWith("multiply", inner, Math.sqrt(2 / Math.PI))));
      }
      case "gelu":
        return this.#halfOf(x, this.#erf(f.binaryWith("multiply", x, Math.SQRT1_2)));
    }
  }

  /** x (1 + y) / 2. */
  #halfOf(x: HloValue, y: HloValue): HloValue {
    const f = this.#f;
    return f.binary("multiply", f.binaryWith("multiply", x, 0.5), f.binaryWith("add", y, 1));
  }

  /** The error function, which StableHLO lacks: Eigen's rational approximation, within 2e-7 (generic_fast_erf_float). */
  #erf(x: HloValue): HloValue {
    const f = this.#f;
    const w = f.binaryWith("minimum", f.binaryWith("maximum", x, -4), 4);
    const square = f.binary("multiply", w, w);
    const evaluate = ([first = 0, ...rest]: readonly number[]) =>
      rest.reduce(
        (sum, c) => f.binaryWith("add", f.binary("multiply", sum, square), c),
        f.constant(first, w.shape, "f32"),
      );
    return f.binary("divide", f.binary("multiply", w, evaluate(ERF_ABOVE)), evaluate(ERF_BELOW));
  }

  /** Over the rows that count, one row a sample; what the others hold, be it NaN, has no effect. */
  #reduceRows(x: HloValue, kind: "mean" | "max", width: number): HloValue {
    const f = this.#f;
    const { samples, length } = this.#options.shape;
    const shape = [samples, length, width];
    const rows = f.reshape(x, shape);
    const weights = f.broadcast(this.#scope.selector(), shape, [0, 1]);
    const counts = f.compare("NE", weights, f.constant(0, shape, "f32"));
    const value = kind === "mean" ? f.binary("multiply", rows, weights) : rows;
    const neutral = f.constant(kind === "mean" ? 0 : Number.NEGATIVE_INFINITY, shape, "f32");
    return f.reduce(kind === "mean" ? "add" : "maximum", f.select(counts, value, neutral), 1);
  }
}

/** Coefficients of x^2, highest power first. */
const ERF_ABOVE = [
  -2.72614225801306e-10, 2.77068142495902e-8, -2.10102402082508e-6, -5.69250639462346e-5,
  -7.34990630326855e-4, -2.95459980854025e-3, -1.60960333262415e-2,
];
const ERF_BELOW = [
  -1.45660718464996e-5, -2.13374055278905e-4, -1.68282697438203e-3, -7.37332916720468e-3,
  -1.42647390514189e-2,
];
