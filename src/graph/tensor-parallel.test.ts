// Where a decoder's parameters lie on chips that share it. That the values are the same wherever they lie is tested on real programs
// (test/integration/tensor-parallel.test.ts).

import { expect, it } from "vitest";
import { GraphBuilder } from "./builder.js";
import type { Graph } from "./graph.js";
import { separateFused } from "./separate-fused.js";
import { lowerToStableHlo } from "./stablehlo.js";
import { planTensorParallel, type TensorParallel } from "./tensor-parallel.js";
import type { TensorShapes, Weights } from "./weights.js";

const WIDTH = 24;

/** One block with biases: attention of so many heads of 4, an MLP of so many features. */
function block(heads: number, kvHeads: number, mlpWidth = 48): { graph: Graph; shapes: TensorShapes } {
  const known = new Map<string, readonly number[]>();
  const shapes: Weights = {
    names: () => known.keys(),
    find: (name) => {
      const shape = known.get(name) ?? [];
      return { name, dtype: "float32", shape, length: 0, file: "/model", offset: 0 };
    },
  };
  const at = (name: string, ...shape: number[]) => {
    known.set(name, shape);
    return name;
  };
  const g = new GraphBuilder(shapes, { taps: ["out"], selection: "rows", tapDType: "float32" });
  const linear = (x: number, name: string, from: number, to: number) =>
    g.linear(x, at(name, to, from), to, { bias: at(`${name}.bias`, to) });
  let x = g.embed(at("embed", 100, WIDTH), 100, WIDTH);
  const n = g.rmsNorm(x, at("norm", WIDTH), 1e-6);
  const q = g.rope(linear(n, "q", WIDTH, 4 * heads), heads, { frequencies: [1, 0.1], amplitude: 1 });
  const [k, v] = [linear(n, "k", WIDTH, 4 * kvHeads), linear(n, "v", WIDTH, 4 * kvHeads)];
  x = g.add(x, linear(g.attention(q, k, v, { heads, kvHeads, scale: 0.5 }), "o", 4 * heads, WIDTH));
  const up = g.activation(linear(g.rmsNorm(x, "norm", 1e-6), "up", WIDTH, mlpWidth), "silu");
  x = g.tap("out", g.add(x, linear(up, "down", mlpWidth, WIDTH)));
  return { graph: g.finish(), shapes };
}

const NAMES = ["embed", "norm", "q", "k", "v", "o", "up", "down"];
const splits = (plan: TensorParallel, names = NAMES) => names.map((name) => plan.splitOf(name));
const layouts = ({ nodes }: Graph, plan: TensorParallel) =>
  nodes.flatMap((node) => (node.op === "linear" ? [`${node.weight} ${plan.layoutsOf(node).join(" ")}`] : []));

it("splits by outputs what reads whole rows, by inputs what reads split ones, and sums twice a block", () => {
  const { graph, shapes } = block(8, 4);
  const plan = planTensorParallel(graph, shapes, 4);
  expect(splits(plan)).toEqual([0, null, 0, 0, 0, 1, 0, 1]);
  expect(splits(plan, ["q.bias", "k.bias", "up.bias", "o.bias", "down.bias"])).toEqual([0, 0, 0, null, null]);
  expect(layouts(graph, plan)).toEqual([
    "q heads",
    "k heads",
    "v heads",
    "o whole",
    "up features",
    "down whole",
  ]);
});

it("divides the heads as far as they go, and computes keys that several parts share by features", () => {
  const { graph, shapes } = block(6, 1);
  const plan = planTensorParallel(graph, shapes, 4);
  expect(plan.headParts).toBe(2);
  expect(splits(plan)).toEqual([0, null, 0, 0, 0, 1, 0, 1]);
  expect(layouts(graph, plan)).toEqual([
    "q features heads",
    "k features whole",
    "v features whole",
    "o whole",
    "up features",
    "down whole",
  ]);
});

it("leaves whole what cannot be divided, or divides it the other way", () => {
  const { graph, shapes } = block(5, 5, 7);
  const plan = planTensorParallel(graph, shapes, 3);
  expect(plan.headParts).toBe(1);
  // 100 rows, 20 and 7 features are no multiples of 3; 24 are.
  expect(splits(plan)).toEqual([1, null, 1, 1, 1, 0, 1, 0]);
  expect(splits(planTensorParallel(graph, shapes, 11))).toEqual(NAMES.map(() => null));
});

it("separates what a layer fuses, by the features that each reader takes", () => {
  const shapes: Weights = {
    names: () => [],
    find: (name) => {
      const shape = { embed: [100, 8], "qkv.bias": [24] }[name] ?? [8, 24];
      return { name, dtype: "float32", shape, length: 0, file: "/model", offset: 0 };
    },
  };
  const build = (groups: number, tapped: boolean) => {
    const taps = tapped ? ["qkv", "out"] : ["out"];
    const g = new GraphBuilder(shapes, { taps, selection: "rows", tapDType: "float32" });
    const x = g.embed("embed", 100, 8);
    const fused = g.tap("qkv", g.linear(x, "qkv", 24, { bias: "qkv.bias", inputMajor: true }));
    const [q, k, v] = g.split(fused, [8, 8, 8], groups);
    g.tap("out", g.attention(q, k, v, { heads: 2, kvHeads: 2, scale: 1 }));
    return separateFused(g.finish());
  };
  const { graph, parts } = build(1, false);
  expect(graph.nodes.map((node) => node.op)).toEqual([
    "embed",
    "linear",
    "linear",
    "linear",
    "attention",
    "selectRows",
    "tap",
  ]);
  expect(graph.nodes[2]).toMatchObject({ x: 0, width: 8, weight: "qkv[8:16]", bias: "qkv.bias[8:16]" });
  expect(parts.get("qkv[8:16]")).toEqual({ weight: "qkv", dimension: 1, from: 8, to: 16 });
  expect(parts.get("qkv.bias[16:24]")).toEqual({ weight: "qkv.bias", dimension: 0, from: 16, to: 24 });
  // Head by head, or where somebody reads it as it is.
  expect(build(2, false).parts.size).toBe(0);
  expect(build(1, true).parts.size).toBe(0);
});

it("is written as annotations: of arguments, of what layers give, of outputs by their rows", () => {
  const { graph, shapes } = block(6, 1);
  const plan = planTensorParallel(graph, shapes, 4);
  const shape = { samples: 2, length: 16, rows: 32 };
  const { text, outputs } = lowerToStableHlo(graph, shapes, { shape, compute: "float32", plan });
  expect(outputs).toEqual([{ name: "out", rows: 32, parts: 4, width: WIDTH, dtype: "float32" }]);
  expect(text).toContain('sdy.mesh @chips = <["heads"=2, "rest"=2]>');
  expect(text).toContain("mhlo.num_partitions = 4");
  const split = '{sdy.sharding = #sdy.sharding<@chips, [{}, {"heads", "rest"}]>}';
  expect(text).toContain(`tensor<24x24xf32> ${split}`);
  expect(text).toMatch(
    /-> \(tensor<32x24xf32> {sdy.sharding = #sdy.sharding<@chips, \[{"heads", "rest"}, {}\]>}\)/,
  );
  expect(text).toMatch(/sdy.sharding_constraint %v\d+ <@chips, \[{}, {"heads"}\]> : tensor<32x24xf32>/);
  const one = lowerToStableHlo(graph, shapes, { shape: { ...shape, rows: 2 }, compute: "float32", plan });
  expect(one.outputs[0]?.parts).toBe(1);
  expect(lowerToStableHlo(graph, shapes, { shape, compute: "float32" }).text).not.toContain("sdy");
});
