// The fixtures must be able to fail: each bug that a family's code could have is planted, in the config or in the graph, and has
// to show against PyTorch's numbers at ten times the bound at least.

import { readFileSync } from "node:fs";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { GraphNode } from "../graph/graph.js";
import { openModel } from "../model/model.js";
import { batchOf, graphOf, loadAll, readFixture, runTaps, worstError } from "./engine.suite.js";
import { onnxEngine } from "./onnx.js";

const engine = onnxEngine({ threads: 1 });
const BOUND = 1e-3;

type Config = Record<string, unknown>;
type Change = (node: GraphNode) => GraphNode;

/** The worst error of a fixture whose config.json was changed. */
async function errorWithConfig(name: string, change: Config): Promise<number> {
  const fixture = readFixture(name);
  const folder = await mkdtemp(join(tmpdir(), "sluice-planted-"));
  try {
    await cp(fixture.folder, folder, { recursive: true });
    const file = join(folder, "config.json");
    const config: Config = JSON.parse(await readFile(file, "utf8"));
    await writeFile(file, JSON.stringify({ ...config, ...change }));
    const model = await loadAll(engine, await openModel(folder));
    const error = await worstError(model, fixture);
    await model.close();
    return error;
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** The worst error of a fixture whose graph was changed, and how many nodes were. */
async function errorWithGraph(name: string, change: Change): Promise<{ error: number; changed: number }> {
  const fixture = readFixture(name);
  const checkpoint = await openModel(fixture.folder);
  const graph = graphOf(checkpoint);
  let changed = 0;
  const nodes = graph.nodes.map((node) => {
    const other = change(node);
    if (other !== node) changed += 1;
    return other;
  });
  const model = await engine.load({ ...graph, nodes }, checkpoint.weights);
  const error = await worstError(model, fixture);
  await model.close();
  return { error, changed };
}

const widen: Change = (n) => (n.op === "attention" && n.window ? { ...n, window: n.window + 1 } : n);
const narrow: Change = (n) => (n.op === "attention" && n.window ? { ...n, window: n.window - 1 } : n);
const dropSoftcap: Change = (n) => (n.op === "attention" ? { ...n, softcap: null } : n);
const usualScale: Change = (n) => (n.op === "attention" ? { ...n, scale: Math.sqrt(n.heads / n.width) } : n);
const dropOffset: Change = (n) => (n.op === "rmsNorm" && n.weight !== null ? { ...n, offset: 0 } : n);
const dropScale: Change = (n) => (n.op === "scale" ? { ...n, factor: 1 } : n);
const dropAmplitude: Change = (n) => (n.op === "rope" ? { ...n, amplitude: 1 } : n);
const turnWholeHeads: Change = (n) => {
  if (n.op !== "rope") return n;
  const pairs = n.width / n.heads / 2;
  return { ...n, frequencies: Array.from({ length: pairs }, (_, i) => 100 ** (-i / pairs)) };
};
const dropNorm =
  (part: string): Change =>
  (n) => {
    if (n.op !== "rmsNorm" || !n.weight?.includes(part)) return n;
    const { x, width, rows, dtype } = n;
    return { op: "scale", x, factor: 1, width, rows, dtype };
  };
const normaliseWhole: Change = (n) =>
  n.op === "rmsNorm" && n.groups > 1 ? { ...n, weight: null, groups: 1 } : n;
const cutWhole: Change = (n) => (n.op === "slice" ? { ...n, groups: 1, from: n.from * n.groups } : n);
const swapHalves: Change = (n) => (n.op === "slice" && n.width === 20 ? { ...n, from: 20 - n.from } : n);

describe("planted bugs are seen against PyTorch's numbers", () => {
  it.each<[string, string, Change]>([
    ["a window that is one too wide", "mistral", widen],
    ["a window that is one too wide", "qwen3-window", widen],
    ["a window that is one too wide", "gemma2", widen],
    ["a window that is one too wide, with an explicit mask", "gemma2-odd-heads", widen],
    ["a window that is one too wide", "gemma3", widen],
    ["a window that is one too wide", "phi3", widen],
    ["a window that is one too narrow", "mistral", narrow],
    ["a window that is one too narrow, with an explicit mask", "gemma2-odd-heads", narrow],
    ["a window that is one too wide", "gpt-neo", widen],
    ["scores scaled by the head's width", "gpt-neo", usualScale],
    ["a missing soft cap", "gemma2", dropSoftcap],
    ["a missing soft cap, standard attention", "gemma2-odd-heads", dropSoftcap],
    ["scores scaled by the head's width", "gemma2", usualScale],
    ["scores scaled by the head's width", "gemma3", usualScale],
    ["norm weights without their 1", "gemma2", dropOffset],
    ["norm weights without their 1", "gemma3", dropOffset],
    ["embeddings that are not scaled", "gemma2", dropScale],
    ["constants that are left out", "granite", dropScale],
    ["scores scaled by the head's width", "granite", usualScale],
    ["a missing post-norm of attention", "gemma2", dropNorm("post_attention_layernorm")],
    ["a missing post-norm of the MLP", "gemma3", dropNorm("post_feedforward_layernorm")],
    ["a missing post-norm of attention", "olmo2", dropNorm("post_attention_layernorm")],
    ["a missing q-k norm", "qwen3", dropNorm("k_norm")],
    ["a missing q-k norm", "gemma3", dropNorm("q_norm")],
    ["a missing q-k norm", "olmo2", dropNorm("k_norm")],
    ["a q-k norm over all heads at once", "qwen3", normaliseWhole],
    ["YaRN without its factor", "mistral-yarn", dropAmplitude],
    ["YaRN without its factor, in one kind of layer", "olmo3", dropAmplitude],
    ["norm weights without their 1", "gemma", dropOffset],
    ["heads that are turned as a whole", "pythia", turnWholeHeads],
    ["heads that are turned as a whole", "phi3", turnWholeHeads],
    ["heads that are turned as a whole", "phi", turnWholeHeads],
    ["a window that is one too wide", "smollm3", widen],
    ["a window that is one too wide", "starcoder2", widen],
    ["q, k and v cut as thirds and not head by head", "pythia", cutWhole],
    ["gate and up projection exchanged", "phi3", swapHalves],
  ])("%s (%s)", async (_, name, change) => {
    const { error, changed } = await errorWithGraph(name, change);
    expect(changed).toBeGreaterThan(0);
    expect(error).toBeGreaterThan(BOUND);
  });

  const OLMO3_YARN = {
    ...{ rope_type: "yarn", rope_theta: 500_000, factor: 8 },
    ...{ attention_factor: 1.3, original_max_position_embeddings: 64 },
  };
  const localBase = (theta: number) => ({
    rope_parameters: {
      full_attention: { rope_type: "linear", rope_theta: 10_000, factor: 8 },
      sliding_attention: { rope_type: "default", rope_theta: theta },
    },
  });
  const inside = JSON.parse(
    readFileSync(join(readFixture("gemma3-with-images").folder, "config.json"), "utf8"),
  );
  const insideWith = (change: Config) => ({ text_config: { ...inside.text_config, ...change } });
  it.each<[string, string, Config]>([
    [
      "the rope base of one kind of layer, by its older name",
      "gemma3-with-images",
      insideWith({ rope_local_base_freq: 120 }),
    ],
    [
      "missing rope scaling: linear, older spelling",
      "gemma3-with-images",
      insideWith({ rope_scaling: null }),
    ],
    ["epsilon", "llama2-all-heads", { rms_norm_eps: 1e-6 }],
    ["epsilon", "gpt2", { layer_norm_epsilon: 1e-6 }],
    ["epsilon", "gpt-neox-sequential", { layer_norm_eps: 1e-5 }],
    ["the rope base", "qwen2-one-kv-head", { rope_theta: 11_000 }],
    ["the rope base, by an older name", "pythia", { rotary_emb_base: 110 }],
    ["the rope base of one kind of layer", "gemma3", localBase(10_000)],
    ["missing rope scaling: llama3", "llama3-scaled", { rope_parameters: { rope_theta: 10_000 } }],
    ["missing rope scaling: yarn", "mistral-yarn", { rope_scaling: null }],
    [
      "rope scaling in every layer",
      "olmo3",
      { rope_parameters: { full_attention: OLMO3_YARN, sliding_attention: OLMO3_YARN } },
    ],
    ["missing rope scaling: linear", "qwen3", { rope_parameters: { rope_theta: 10_000 } }],
    ["a missing bias", "llama-head-dim", { attention_bias: false }],
    ["a missing bias", "llama-head-dim", { mlp_bias: false }],
    ["a missing bias", "qwen3-window", { attention_bias: false }],
    ["positions in the layers that have none", "smollm3", { no_rope_layers: [1, 0] }],
    ["epsilon, by another name", "starcoder2", { norm_epsilon: 1e-5 }],
    ["a missing bias", "starcoder2", { use_bias: false }],
    ["parallel residual taken for a sequence", "pythia", { use_parallel_residual: false }],
    [
      "windows in the other layers",
      "gemma2",
      { layer_types: ["full_attention", "sliding_attention", "full_attention"] },
    ],
    ["windows from the first layer on", "qwen3-window", { max_window_layers: 0, layer_types: null }],
    ["another activation function", "gpt2-inner", { activation_function: "gelu_new" }],
  ])("%s (%s: %j)", async (_, name, change) => {
    const error = await errorWithConfig(name, change);
    // The two forms of GELU differ by 5e-4 at most.
    expect(error).toBeGreaterThan("activation_function" in change ? 2e-4 : BOUND);
  });

  it("a mask that is off by one: the last token sees what the row before it sees", async () => {
    const fixture = readFixture("qwen2-one-kv-head");
    const ids = fixture.cases[0]?.samples[0] ?? [];
    const model = await loadAll(engine, await openModel(fixture.folder));
    const seen = (await runTaps(model, batchOf([ids]))).get("blocks.1.hook_resid_post") ?? new Float32Array();
    const shorter =
      (await runTaps(model, batchOf([ids.slice(1)]))).get("blocks.1.hook_resid_post") ?? new Float32Array();
    const width = seen.length / ids.length;
    const difference = seen.subarray(-width).map((v, i) => Math.abs(v - (shorter.subarray(-width)[i] ?? 0)));
    expect(Math.max(...difference) / Math.max(...seen.map(Math.abs))).toBeGreaterThan(BOUND);
    await model.close();
  });
});
