// The slow, obvious engine: it interprets the graph one token and one number at a time in float64, from the definitions in
// graph.ts, and shares no numeric code with the lowerings. What the others compute is tested against it.

import { encodeBfloat16 } from "../base/float16.js";
import type { Graph, GraphNode } from "../graph/graph.js";
import { readTensor } from "../graph/read-tensor.js";
import type { Weights } from "../graph/weights.js";
import type { Engine, LoadedModel, TapOutput, TokenBatch } from "./engine.js";

type Row = Float64Array;

/** The {@link Engine} that everybody can follow. */
export function referenceEngine(): Engine {
  return {
    name: "reference",
    async load(graph: Graph, weights: Weights): Promise<LoadedModel> {
      const parameters = new Map<string, Row>();
      const parameter = (name: string): Row => {
        const known = parameters.get(name) ?? readParameter(weights, name);
        parameters.set(name, known);
        return known;
      };
      return {
        execution: { engine: "reference", device: "cpu", compute: "float64" },
        run: async (batch) => interpret(graph, parameter, batch),
        close: async () => parameters.clear(),
      };
    },
  };
}

function interpret(graph: Graph, parameter: (name: string) => Row, batch: TokenBatch): TapOutput[] {
  const values: Row[][] = [];
  const outputs: TapOutput[] = [];
  for (const node of graph.nodes) {
    values.push(compute(node, values, parameter, batch));
    if (node.op === "tap") outputs.push(describe(node, values.at(-1) ?? []));
  }
  return outputs;
}

/** The rows of one node: one for each token of the batch (padding included), selected row, or sample. */
function compute(
  node: GraphNode,
  values: readonly Row[][],
  parameter: (name: string) => Row,
  batch: TokenBatch,
): Row[] {
  const at = (id: number) => values[id] ?? [];
  switch (node.op) {
    case "embed":
      return Array.from(batch.tokens, (token) =>
        parameter(node.weight).slice(token * node.width, (token + 1) * node.width),
      );
    case "embedPositions":
      return Array.from(batch.tokens, (_, i) => {
        const position = i % batch.length;
        return parameter(node.weight).slice(position * node.width, (position + 1) * node.width);
      });
    case "linear": {
      const weight = parameter(node.weight);
      const bias = node.bias === null ? null : parameter(node.bias);
      return at(node.x).map((x) => linear(x, weight, bias, node.width, node.inputMajor));
    }
    case "rmsNorm": {
      const weight = node.weight === null ? null : parameter(node.weight);
      return at(node.x).map((x) => rmsNorm(x, weight, node));
    }
    case "layerNorm": {
      const weight = node.weight === null ? null : parameter(node.weight);
      const bias = node.bias === null ? null : parameter(node.bias);
      return at(node.x).map((x) => {
        const mean = x.reduce((sum, v) => sum + v, 0) / x.length;
        const variance = x.reduce((sum, v) => sum + (v - mean) ** 2, 0) / x.length;
        return x.map((v, i) => {
          const normal = (v - mean) / Math.sqrt(variance + node.epsilon);
          return normal * (weight === null ? 1 : get(weight, i)) + (bias === null ? 0 : get(bias, i));
        });
      });
    }
    case "rope":
      return at(node.x).map((x, i) => rotate(x, i % batch.length, node));
    case "attention":
      return attend(node, at(node.q), at(node.k), at(node.v), batch);
    case "slice":
      return at(node.x).map((x) => slice(x, node));
    case "scale":
      return at(node.x).map((x) => x.map((v) => v * node.factor));
    case "activation":
      return at(node.x).map((x) => x.map((v) => activate(v, node.kind)));
    case "add":
      return at(node.a).map((a, i) => a.map((v, k) => v + get(at(node.b)[i], k)));
    case "mul":
      return at(node.a).map((a, i) => a.map((v, k) => v * get(at(node.b)[i], k)));
    case "selectRows":
      return Array.from(batch.rows, (row) => at(node.x)[row] ?? new Float64Array());
    case "reduceRows":
      return reduce(at(node.x), node.kind, node.width, batch);
    case "cast":
    case "tap":
      return at(node.x);
  }
}

function linear(x: Row, weight: Row, bias: Row | null, out: number, inputMajor: boolean): Row {
  const y = new Float64Array(out);
  for (let o = 0; o < out; o++) {
    let sum = bias === null ? 0 : get(bias, o);
    for (let i = 0; i < x.length; i++)
      sum += get(x, i) * get(weight, inputMajor ? i * out + o : o * x.length + i);
    y[o] = sum;
  }
  return y;
}

function rmsNorm(x: Row, weight: Row | null, node: GraphNode & { op: "rmsNorm" }): Row {
  const width = x.length / node.groups;
  const y = new Float64Array(x.length);
  for (let start = 0; start < x.length; start += width) {
    const mean = x.subarray(start, start + width).reduce((sum, v) => sum + v * v, 0) / width;
    for (let i = 0; i < width; i++) {
      const gain = weight === null ? 1 : node.offset + get(weight, i);
      y[start + i] = (get(x, start + i) / Math.sqrt(mean + node.epsilon)) * gain;
    }
  }
  return y;
}

function slice(x: Row, node: GraphNode & { op: "slice" }): Row {
  const [whole, part] = [x.length / node.groups, node.width / node.groups];
  const y = new Float64Array(node.width);
  for (let g = 0; g < node.groups; g++)
    for (let i = 0; i < part; i++) y[g * part + i] = get(x, g * whole + node.from + i);
  return y;
}

function rotate(x: Row, position: number, node: GraphNode & { op: "rope" }): Row {
  const y = x.slice();
  const headWidth = x.length / node.heads;
  const half = node.frequencies.length;
  for (let h = 0; h < node.heads; h++) {
    for (const [i, frequency] of node.frequencies.entries()) {
      const [a, b] = [h * headWidth + i, h * headWidth + i + half];
      const [cos, sin] = [Math.cos(position * frequency), Math.sin(position * frequency)];
      y[a] = (get(x, a) * cos - get(x, b) * sin) * node.amplitude;
      y[b] = (get(x, b) * cos + get(x, a) * sin) * node.amplitude;
    }
  }
  return y;
}

function attend(
  node: GraphNode & { op: "attention" },
  q: readonly Row[],
  k: readonly Row[],
  v: readonly Row[],
  batch: TokenBatch,
): Row[] {
  const headWidth = node.width / node.heads;
  return q.map((query, row) => {
    const start = row - (row % batch.length);
    const result = new Float64Array(node.width);
    for (let h = 0; h < node.heads; h++) {
      const kv = Math.floor(h / (node.heads / node.kvHeads)) * headWidth;
      const first = node.window === null ? start : Math.max(start, row - node.window + 1);
      const scores: number[] = [];
      for (let past = first; past <= row; past++) {
        let dot = 0;
        for (let i = 0; i < headWidth; i++) dot += get(query, h * headWidth + i) * get(k[past], kv + i);
        const score = dot * node.scale;
        scores.push(node.softcap === null ? score : node.softcap * Math.tanh(score / node.softcap));
      }
      const top = scores.reduce((a, b) => Math.max(a, b));
      const weights = scores.map((score) => Math.exp(score - top));
      const total = weights.reduce((a, b) => a + b);
      for (const [past, weight] of weights.entries()) {
        for (let i = 0; i < headWidth; i++) {
          result[h * headWidth + i] =
            get(result, h * headWidth + i) + (weight / total) * get(v[first + past], kv + i);
        }
      }
    }
    return result;
  });
}

function activate(x: number, kind: "silu" | "gelu" | "gelu_tanh" | "relu"): number {
  switch (kind) {
    case "silu":
      return x / (1 + Math.exp(-x));
    case "relu":
      return Math.max(0, x);
    case "gelu_tanh":
      return 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
    case "gelu":
      return 0.5 * x * (1 + erf(x / Math.SQRT2));
  }
}

/** The error function by its Maclaurin series; beyond 6 it is 1 to more digits than float64 has. */
function erf(x: number): number {
  if (Math.abs(x) > 6) return Math.sign(x);
  let term = x;
  let sum = x;
  for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(sum) && n < 500; n++) {
    term *= (-x * x) / n;
    sum += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
}

function reduce(x: readonly Row[], kind: "mean" | "max", width: number, batch: TokenBatch): Row[] {
  return Array.from({ length: batch.samples }, (_, sample) => {
    const rows = [...batch.rows]
      .filter((row) => Math.floor(row / batch.length) === sample)
      .map((row) => x[row] ?? new Float64Array(width));
    return new Float64Array(width).map((_, i) => {
      const column = rows.map((row) => get(row, i));
      return kind === "max" ? Math.max(...column) : column.reduce((a, b) => a + b, 0) / column.length;
    });
  });
}

function describe(node: GraphNode & { op: "tap" }, rows: readonly Row[]): TapOutput {
  const values = new Float32Array(rows.length * node.width);
  for (const [r, row] of rows.entries()) values.set(row, r * node.width);
  const stored = node.dtype === "bfloat16" ? encodeBfloat16(values) : values;
  return {
    name: node.name,
    rows: rows.length,
    width: node.width,
    dtype: node.dtype,
    data: new Uint8Array(stored.buffer),
  };
}

/** A parameter's values, whatever dtype it is stored in. @throws Error where there is none of that name. */
export function readParameter(weights: Weights, name: string): Float64Array {
  const tensor = weights.find(name);
  if (!tensor) throw new Error(`no tensor ${name}`);
  return Float64Array.from(readTensor(tensor));
}

function get(row: Row | undefined, i: number): number {
  const value = row?.[i];
  if (value === undefined) throw new Error(`reference: nothing at ${i}`);
  return value;
}
