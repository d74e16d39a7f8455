// The text of the lowering: what can be said of it without a plug-in. What it computes is tested in test/integration/xla.test.ts.

import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { type BuilderOptions, GraphBuilder } from "./builder.js";
import type { Graph } from "./graph.js";
import { segmentsOf } from "./segments.js";
import { type HloOptions, lowerToStableHlo } from "./stablehlo.js";
import { HloFunction } from "./stablehlo-text.js";
import type { Weights } from "./weights.js";

const WIDTH = 8;
const SHAPE = { samples: 2, length: 16, rows: 32 };

/** Parameters of any name: tables end in `embed`, norms in `norm`, all else is a matrix. */
const weights = (dtype: "float32" | "bfloat16" | "float16" = "float32"): Weights => ({
  names: () => [],
  find: (name) => {
    const shape = /norm$/.test(name) ? [WIDTH] : /embed$/.test(name) ? [100, WIDTH] : [WIDTH, WIDTH];
    const length = shape.reduce((product, n) => product * n, 4);
    return { name, dtype, shape, length, file: "/model", offset: 0 };
  },
});

/** A decoder of so many equal blocks, of which every second has a window if there is one. */
function decoder(layers: number, window: number | null, options: Partial<BuilderOptions> = {}): Graph {
  const taps = Array.from({ length: layers }, (_, l) => `blocks.${l}.out`);
  const g = new GraphBuilder(weights(), { taps, selection: "rows", tapDType: "float32", ...options });
  let x = g.embed("embed", 100, WIDTH);
  for (let l = 0; l < layers; l++) {
    const linear = (y: number, name: string) => g.linear(y, `${l}.${name}`, WIDTH);
    const n = g.rmsNorm(x, `${l}.norm`, 1e-6);
    const rope = { frequencies: [1, 0.01], amplitude: 1 };
    const [q, k] = [g.rope(linear(n, "q"), 2, rope), g.rope(linear(n, "k"), 2, rope)];
    const shape = { heads: 2, kvHeads: 2, scale: 0.5, window: l % 2 === 1 ? window : null };
    x = g.add(x, linear(g.attention(q, k, linear(n, "v"), shape), "o"));
    const up = g.activation(linear(g.rmsNorm(x, `${l}.mlp.norm`, 1e-6), "up"), "silu");
    x = g.tap(`blocks.${l}.out`, g.add(x, linear(up, "down")));
  }
  return g.finish();
}

const lower = (graph: Graph, changes: Partial<HloOptions> = {}, stored = weights()) =>
  lowerToStableHlo(graph, stored, { shape: SHAPE, compute: "float32", ...changes });
const count = (text: string, pattern: RegExp) => text.match(new RegExp(pattern, "g"))?.length ?? 0;

describe("the lowering to StableHLO", () => {
  it("of one small block is this text", async () => {
    const { text } = lower(decoder(1, 4));
    const file = fileURLToPath(new URL("../../test/__snapshots__/block.mlir", import.meta.url));
    await expect(text).toMatchFileSnapshot(file);
  });

  it("makes one function of equal layers, however many there are", () => {
    for (const layers of [2, 70]) {
      const { text } = lower(decoder(layers, null));
      // The embedding, attention with what it is added to, and the MLP.
      expect(count(text, /func\.func private/)).toBe(3);
      expect(count(text, /call @/)).toBe(1 + 2 * layers);
    }
    expect(count(lower(decoder(4, 4)).text, /func\.func private/)).toBe(4);
  });

  it("cuts where one value is alive, and gives out what is tapped", () => {
    const graph = decoder(2, null);
    const segments = segmentsOf(graph);
    expect(segments.flatMap((s) => s.nodes)).toEqual(
      graph.nodes.flatMap((node, i) => (node.rows === "tokens" && node.op !== "tap" ? [i] : [])),
    );
    expect(segments.map((s) => s.results.length)).toEqual([1, 1, 1, 1, 1]);
  });

  it("takes weights after tokens and rows, each once, in the dtype that is computed in", () => {
    const { inputs, parameters, outputs, text } = lower(
      decoder(2, null),
      { compute: "bfloat16" },
      weights("float16"),
    );
    expect(inputs).toEqual([
      { shape: [2, 16], dtype: "int32" },
      { shape: [32], dtype: "int32" },
    ]);
    expect(new Set(parameters.map((p) => p.name)).size).toBe(parameters.length);
    const dtypes = new Map(parameters.map((p) => [p.name, p.dtype]));
    expect([dtypes.get("embed"), dtypes.get("0.q"), dtypes.get("1.norm")]).toEqual([
      "float16",
      "bfloat16",
      "float32",
    ]);
    expect(outputs).toEqual(
      [0, 1].map((l) => ({ name: `blocks.${l}.out`, rows: 32, parts: 1, width: WIDTH, dtype: "float32" })),
    );
    const head = /@main\((.*)\) -> /.exec(text)?.[1] ?? "";
    expect(head.split(", ").map((a) => a.split(": ")[1])).toEqual([
      "tensor<2x16xi32>",
      "tensor<32xi32>",
      ...parameters.map(
        ({ shape, dtype }) =>
          `tensor<${shape.join("x")}x${{ float32: "f32", bfloat16: "bf16", float16: "f16" }[dtype]}>`,
      ),
    ]);
  });

  it("multiplies float32 as float32, accumulates in float32, and rounds nothing to bfloat16 but operands", () => {
    const { text } = lower(decoder(1, null));
    expect(count(text, /dot_general/)).toBe(8);
    expect(count(text, /precision = \[HIGHEST, HIGHEST\]/)).toBe(8);
    expect(text).not.toContain("bf16");
    const narrow = lower(decoder(1, null), { compute: "bfloat16" }).text;
    const dots = narrow.split("\n").filter((line) => line.includes("dot_general"));
    expect(dots.every((line) => /-> tensor<[0-9x]+xf32>$/.test(line))).toBe(true);
    // Queries and keys in two terms, v, o, up and down in one; attention's two in 16 bits.
    expect(dots.filter((line) => line.includes("bf16>"))).toHaveLength(2 * 2 + 4);
    expect(dots.filter((line) => line.includes("[HIGH, HIGH]"))).toHaveLength(2);
    expect(count(narrow, /reduce_precision .* format = e8m7/)).toBe(2);
    expect(narrow.split("\n").filter((l) => /(add|exponential|divide|rsqrt|reduce)\b.*bf16/.test(l))).toEqual(
      [],
    );
  });

  it("rounds taps, selects rows, reduces over samples", () => {
    const rounded = lower(decoder(1, null, { tapDType: "bfloat16" }), { shape: { ...SHAPE, rows: 4 } });
    expect(rounded.outputs).toMatchObject([{ rows: 4, width: WIDTH, dtype: "bfloat16" }]);
    const mean = lower(decoder(1, null, { selection: "mean" }));
    expect(mean.inputs[1]).toEqual({ shape: [2, 16], dtype: "float32" });
    expect(mean.outputs[0]?.rows).toBe(2);
    expect(mean.text).toContain("applies stablehlo.add across dimensions = [1] : (tensor<2x16x8xf32>");
    expect(lower(decoder(1, null, { selection: "max" })).text).toContain("0xFF800000");
  });

  it("computes no scores beyond a block of queries, nor before a window", () => {
    const long = { samples: 1, length: 768, rows: 768 };
    const seen = (text: string) =>
      [
        ...text.matchAll(/dot_general .*contracting_dims = \[3\] x \[3\].* -> tensor<1x2x256x(\d+)xf32>/g),
      ].map((m) => Number(m[1]));
    expect(seen(lower(decoder(1, null), { shape: long }).text)).toEqual([256, 512, 768]);
    expect(seen(lower(decoder(2, 100), { shape: long }).text)).toEqual([256, 512, 768, 256, 355, 355]);
  });
});

describe("a function's text", () => {
  it("writes floats with a decimal point, and infinities as bits", () => {
    const f = new HloFunction();
    f.constant(1e-6, [], "f32");
    f.constant([1, -0.5], [2], "f32");
    f.constant(Number.NEGATIVE_INFINITY, [2], "bf16");
    f.constant(3, [2], "i32");
    const lines = f
      .text("func.func @f", [f.argument([1], "f32")])
      .split("\n")
      .slice(1, 5);
    expect(lines.map((line) => line.trim())).toEqual([
      "%v0 = stablehlo.constant dense<1.00000000e-6> : tensor<f32>",
      "%v1 = stablehlo.constant dense<[1.00000000e+0, -5.00000000e-1]> : tensor<2xf32>",
      "%v2 = stablehlo.constant dense<0xFF80> : tensor<2xbf16>",
      "%v3 = stablehlo.constant dense<3> : tensor<2xi32>",
    ]);
    expect(() => f.constant(Number.NaN, [], "f32")).toThrow("no constant NaN");
  });

  it("refuses shapes that do not fit, by the operation's name", () => {
    const f = new HloFunction();
    const [a, b] = [f.argument([2, 3], "f32"), f.argument([3, 2], "f32")];
    expect(() => f.binary("add", a, b)).toThrow("add of tensor<2x3xf32> and tensor<3x2xf32> do not fit");
    expect(() => f.dot(a, b, { contracting: [1, 1] })).toThrow("dot_general");
    expect(() => f.reshape(a, [7])).toThrow("reshape of [2,3] to [7]");
    expect(() => f.slice(a, 0, 1, 3)).toThrow("slice [1, 3) of 2");
    expect(() => f.broadcast(a, [4, 3], [0, 1])).toThrow("broadcast");
    expect(() => f.dot(a, f.convert(b, "bf16"), { contracting: [1, 0] })).toThrow("dot_general");
    expect(f.dot(a, b, { contracting: [1, 0] }).shape).toEqual([2, 2]);
  });
});
