// Builds graphs. Every operation checks shapes, dtypes and the checkpoint's tensors at once, so that a wrong config or a
// truncated checkpoint is refused by the tensor's name before anything is computed.

import { SluiceError } from "../base/errors.js";
import type { ActivationKind, Graph, GraphNode, Op, ValueId } from "./graph.js";
import { prune } from "./prune.js";
import type { Weights } from "./weights.js";

/** What taps give back, and which hooks are wanted. */
export interface BuilderOptions {
  /** Hook names, in the order in which the engine is to give them. */
  readonly taps: readonly string[];
  readonly selection: "rows" | "mean" | "max";
  readonly tapDType: "float32" | "bfloat16";
}

/** Rotary positions of one head. */
export interface Rope {
  /** Radians a position, one a pair of elements; fewer than half the head's width where only its first part is turned. */
  readonly frequencies: readonly number[];
  /** What the turned part is multiplied by: 1, but for YaRN. */
  readonly amplitude: number;
}

/** Collects a model's operations. `tap` marks hook points; those that are not wanted cost nothing. */
export class GraphBuilder {
  readonly #weights: Weights | null;
  readonly #options: BuilderOptions;
  readonly #nodes: GraphNode[] = [];
  readonly #tapped = new Map<string, ValueId>();
  readonly #rowShapes = new Map<string, readonly number[]>();

  /** @param weights null where only the outline is wanted: shapes are then checked against each other alone. */
  constructor(weights: Weights | null, options: BuilderOptions) {
    this.#weights = weights;
    this.#options = options;
  }

  /** The hook points of a model and the shape of one row of each, in the model's order. */
  static outline(build: (g: GraphBuilder) => void): ReadonlyMap<string, readonly number[]> {
    const builder = new GraphBuilder(null, { taps: [], selection: "rows", tapDType: "float32" });
    build(builder);
    return builder.#rowShapes;
  }

  /** Whether every wanted hook has been seen: nothing above it needs to be built. */
  get isDone(): boolean {
    return this.#weights !== null && this.#options.taps.every((name) => this.#tapped.has(name));
  }

  /** Token embeddings. @param vocabulary rows of the table, as the config says. */
  embed(weight: string, vocabulary: number, width: number): ValueId {
    this.#expect(weight, [vocabulary, width]);
    return this.#push({ op: "embed", weight }, width);
  }

  /** Learned position embeddings. */
  embedPositions(weight: string, positions: number, width: number): ValueId {
    this.#expect(weight, [positions, width]);
    return this.#push({ op: "embedPositions", weight }, width);
  }

  /** A linear layer of the given output width. */
  linear(
    x: ValueId,
    weight: string,
    out: number,
    options: { bias?: string | null; inputMajor?: boolean } = {},
  ): ValueId {
    const { bias = null, inputMajor = false } = options;
    const width = this.#node(x).width;
    this.#expect(weight, inputMajor ? [width, out] : [out, width]);
    if (bias !== null) this.#expect(bias, [out]);
    return this.#push({ op: "linear", x, weight, bias, inputMajor }, out);
  }

  /**
   * @param weight null for the normalised values before the weight.
   * @param options `offset` 1 where the weight is a distance from 1; `groups` normalised each on its own, by one weight.
   */
  rmsNorm(
    x: ValueId,
    weight: string | null,
    epsilon: number,
    options: { offset?: 0 | 1; groups?: number } = {},
  ): ValueId {
    const { offset = 0, groups = 1 } = options;
    const { width } = this.#node(x);
    this.#require(width % groups === 0, `rmsNorm: ${width} features in ${groups} groups`);
    if (weight !== null) this.#expect(weight, [width / groups]);
    return this.#push({ op: "rmsNorm", x, weight, epsilon, offset, groups }, width);
  }

  layerNorm(x: ValueId, weight: string | null, bias: string | null, epsilon: number): ValueId {
    const { width } = this.#node(x);
    for (const name of [weight, bias]) if (name !== null) this.#expect(name, [width]);
    return this.#push({ op: "layerNorm", x, weight, bias, epsilon }, width);
  }

  /** Turns each of the heads by its position. */
  rope(x: ValueId, heads: number, rope: Rope): ValueId {
    const { width } = this.#node(x);
    const { frequencies, amplitude } = rope;
    this.#require(
      width % heads === 0 && 2 * frequencies.length <= width / heads,
      `rope: ${frequencies.length} frequencies do not fit ${heads} heads of ${width}`,
    );
    return this.#push({ op: "rope", x, heads, frequencies, amplitude }, width);
  }

  /** Causal attention; q is heads x d wide, k and v are kvHeads x d. */
  attention(
    q: ValueId,
    k: ValueId,
    v: ValueId,
    shape: { heads: number; kvHeads: number; scale: number; window?: number | null; softcap?: number | null },
  ): ValueId {
    const { heads, kvHeads, scale, window = null, softcap = null } = shape;
    const [wq, wk, wv] = [this.#node(q).width, this.#node(k).width, this.#node(v).width];
    const fits = wq % heads === 0 && heads % kvHeads === 0 && wk === (wq / heads) * kvHeads && wv === wk;
    this.#require(
      fits,
      `attention: widths ${wq}, ${wk}, ${wv} do not fit ${heads} heads and ${kvHeads} key-value heads`,
    );
    return this.#push({ op: "attention", q, k, v, heads, kvHeads, scale, window, softcap }, wq);
  }

  /**
   * Cuts the features into parts of the given widths. @param groups where each of so many equal parts of the features holds its
   * share of every part, as GPT-NeoX's heads do.
   */
  split<const W extends readonly number[]>(x: ValueId, widths: W, groups = 1): { [K in keyof W]: ValueId } {
    const { width } = this.#node(x);
    const total = widths.reduce((sum, w) => sum + w, 0);
    const fits = total === width && widths.every((w) => w % groups === 0);
    this.#require(fits, `split: ${width} features into ${widths.join(" + ")} in ${groups} groups`);
    let from = 0;
    const parts = widths.map((w) => {
      const part = this.#push({ op: "slice", x, groups, from }, w);
      from += w / groups;
      return part;
    });
    return parts as { [K in keyof W]: ValueId };
  }

  scale(x: ValueId, factor: number): ValueId {
    return factor === 1 ? x : this.#push({ op: "scale", x, factor }, this.#node(x).width);
  }

  activation(x: ValueId, kind: ActivationKind): ValueId {
    return this.#push({ op: "activation", x, kind }, this.#node(x).width);
  }

  add(a: ValueId, b: ValueId): ValueId {
    return this.#push({ op: "add", a, b }, this.#sameWidth("add", a, b));
  }

  mul(a: ValueId, b: ValueId): ValueId {
    return this.#push({ op: "mul", a, b }, this.#sameWidth("mul", a, b));
  }

  /**
   * Marks a hook point and gives the value back, so that it reads like the model's own line.
   * @param heads where a row is [heads, head width] rather than [width].
   */
  tap(name: string, x: ValueId, heads?: number): ValueId {
    this.#require(!this.#rowShapes.has(name), `tap: ${name} is there twice`);
    const { width } = this.#node(x);
    this.#rowShapes.set(name, heads === undefined ? [width] : [heads, width / heads]);
    if (this.#options.taps.includes(name)) this.#tapped.set(name, x);
    return x;
  }

  /** The graph of the wanted taps, and nothing that they do not need. @throws SluiceError `usage` for a hook the model does not have. */
  finish(): Graph {
    const { taps, selection, tapDType } = this.#options;
    for (const name of taps) {
      const x = this.#tapped.get(name);
      if (x === undefined)
        throw new SluiceError("usage", `this model has no hook ${name}`, {
          expected: [...this.#rowShapes.keys()].join(", "),
        });
      const { width } = this.#node(x);
      const rows = selection === "rows" ? "selected" : "samples";
      const taken = this.#push(
        selection === "rows" ? { op: "selectRows", x } : { op: "reduceRows", x, kind: selection },
        width,
        rows,
      );
      const cast =
        tapDType === "float32"
          ? taken
          : this.#push({ op: "cast", x: taken, dtype: tapDType }, width, rows, tapDType);
      this.#push({ op: "tap", x: cast, name }, width, rows, tapDType);
    }
    return { nodes: prune(this.#nodes), taps };
  }

  #push(
    op: Op,
    width: number,
    rows: GraphNode["rows"] = "tokens",
    dtype: GraphNode["dtype"] = "float32",
  ): ValueId {
    this.#nodes.push({ ...op, width, rows, dtype });
    return this.#nodes.length - 1;
  }

  #node(id: ValueId): GraphNode {
    const node = this.#nodes[id];
    if (!node) throw new SluiceError("bug", `graph: there is no value %${id}`);
    return node;
  }

  #sameWidth(op: string, a: ValueId, b: ValueId): number {
    const [x, y] = [this.#node(a).width, this.#node(b).width];
    this.#require(x === y, `${op}: ${x} features and ${y}`);
    return x;
  }

  #require(condition: boolean, message: string): void {
    if (!condition) throw new SluiceError("config", `the model's config does not fit together: ${message}`);
  }

  #expect(name: string, shape: readonly number[]): void {
    if (this.#weights === null) return;
    const tensor = this.#weights.find(name);
    if (!tensor) {
      throw new SluiceError("config", `the checkpoint has no tensor ${name}`, {
        expected: `shape [${shape.join(", ")}], as config.json says`,
        fix: "Is the download complete, and config.json the one of these weights?",
      });
    }
    if (tensor.shape.length === shape.length && tensor.shape.every((n, i) => n === shape[i])) return;
    throw new SluiceError("config", `tensor ${tensor.name} of the checkpoint has the wrong shape`, {
      found: `[${tensor.shape.join(", ")}]`,
      expected: `[${shape.join(", ")}], as config.json says`,
    });
  }
}
