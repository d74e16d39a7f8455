// Builds graphs. Every operation checks shapes, dtypes and the checkpoint's tensors at once, so that a wrong config or a
// truncated checkpoint is refused by the tensor's name before anything is computed.

import { SluiceError } from "../base/errors.js";
import type { ActivationKind, Graph, GraphNode, Op, ValueId } from "./graph.js";
import { inputsOf } from "./graph.js";
import type { Weights } from "./weights.js";

/** What taps give back, and which hooks are wanted. */
export interface BuilderOptions {
  /** Hook names, in the order in which the engine is to give them. */
  readonly taps: readonly string[];
  readonly selection: "rows" | "mean" | "max";
  readonly tapDType: "float32" | "bfloat16";
}

/** Collects a model's operations. `tap` marks hook points; those that are not wanted cost nothing. */
export class GraphBuilder {
  readonly #weights: Weights;
  readonly #options: BuilderOptions;
  readonly #nodes: GraphNode[] = [];
  readonly #tapped = new Map<string, ValueId>();

  constructor(weights: Weights, options: BuilderOptions) {
    this.#weights = weights;
    this.#options = options;
  }

  /** Whether every wanted hook has been seen: nothing above it needs to be built. */
  get isDone(): boolean {
    return this.#options.taps.every((name) => this.#tapped.has(name));
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

  rmsNorm(x: ValueId, weight: string, epsilon: number): ValueId {
    const { width } = this.#node(x);
    this.#expect(weight, [width]);
    return this.#push({ op: "rmsNorm", x, weight, epsilon }, width);
  }

  layerNorm(x: ValueId, weight: string, bias: string, epsilon: number): ValueId {
    const { width } = this.#node(x);
    this.#expect(weight, [width]);
    this.#expect(bias, [width]);
    return this.#push({ op: "layerNorm", x, weight, bias, epsilon }, width);
  }

  /** Turns each of the heads by its position. @param frequencies radians a position, one a pair of elements. */
  rope(x: ValueId, heads: number, frequencies: readonly number[]): ValueId {
    const { width } = this.#node(x);
    this.#require(
      width % heads === 0 && 2 * frequencies.length <= width / heads,
      `rope: ${frequencies.length} frequencies do not fit ${heads} heads of ${width}`,
    );
    return this.#push({ op: "rope", x, heads, frequencies }, width);
  }

  /** Causal attention; q is heads x d wide, k and v are kvHeads x d. */
  attention(
    q: ValueId,
    k: ValueId,
    v: ValueId,
    shape: { heads: number; kvHeads: number; scale: number },
  ): ValueId {
    const { heads, kvHeads, scale } = shape;
    const [wq, wk, wv] = [this.#node(q).width, this.#node(k).width, this.#node(v).width];
    const fits = wq % heads === 0 && heads % kvHeads === 0 && wk === (wq / heads) * kvHeads && wv === wk;
    this.#require(
      fits,
      `attention: widths ${wq}, ${wk}, ${wv} do not fit ${heads} heads and ${kvHeads} key-value heads`,
    );
    return this.#push({ op: "attention", q, k, v, heads, kvHeads, scale }, wq);
  }

  /** Cuts the features into three equal parts. */
  split(x: ValueId, parts: 3): [ValueId, ValueId, ValueId] {
    const { width } = this.#node(x);
    this.#require(width % parts === 0, `split: ${width} features into ${parts} parts`);
    const part = (i: number) => this.#push({ op: "slice", x, part: i, parts }, width / parts);
    return [part(0), part(1), part(2)];
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

  /** Marks a hook point and gives the value back, so that it reads like the model's own line. */
  tap(name: string, x: ValueId): ValueId {
    this.#require(!this.#tapped.has(name), `tap: ${name} is there twice`);
    this.#node(x);
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
          fix: "See sluice extract --help for the hook points.",
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

/** Only what the taps need, renumbered. */
function prune(nodes: readonly GraphNode[]): GraphNode[] {
  const needed = new Set<ValueId>();
  for (let i = nodes.length - 1; i >= 0; i--) {
    const node = nodes[i];
    if (!node || (node.op !== "tap" && !needed.has(i))) continue;
    needed.add(i);
    for (const input of inputsOf(node)) needed.add(input);
  }
  const places = new Map([...needed].sort((a, b) => a - b).map((old, place) => [old, place]));
  const at = (old: ValueId) => places.get(old) ?? 0;
  return nodes.flatMap((node, i) => (needed.has(i) ? [renumber(node, at)] : []));
}

function renumber(node: GraphNode, at: (old: ValueId) => ValueId): GraphNode {
  switch (node.op) {
    case "embed":
    case "embedPositions":
      return node;
    case "add":
    case "mul":
      return { ...node, a: at(node.a), b: at(node.b) };
    case "attention":
      return { ...node, q: at(node.q), k: at(node.k), v: at(node.v) };
    default:
      return { ...node, x: at(node.x) };
  }
}
