import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { encodeBfloat16 } from "../base/float16.js";
import { buildGraph, openModel } from "../model/model.js";
import { batchOf, describeEngine, loadAll, readFixture, runTaps, worstError } from "./engine.suite.js";
import { onnxEngine } from "./onnx.js";

const engine = onnxEngine({ threads: 1 });
describeEngine(engine);

describe("planted bugs are seen against PyTorch's numbers", () => {
  /** The worst error of a fixture whose config.json was changed. */
  async function errorWith(name: string, change: (config: Record<string, unknown>) => void): Promise<number> {
    const fixture = readFixture(name);
    const folder = await mkdtemp(join(tmpdir(), "sluice-planted-"));
    try {
      await cp(fixture.folder, folder, { recursive: true });
      const file = join(folder, "config.json");
      const config: Record<string, unknown> = JSON.parse(await readFile(file, "utf8"));
      change(config);
      await writeFile(file, JSON.stringify(config));
      const model = await loadAll(engine, await openModel(folder));
      const error = await worstError(model, fixture);
      await model.close();
      return error;
    } finally {
      await rm(folder, { recursive: true });
    }
  }

  it("epsilon", async () => {
    expect(
      await errorWith("llama2-all-heads", (c) => Object.assign(c, { rms_norm_eps: 1e-6 })),
    ).toBeGreaterThan(1e-3);
    expect(await errorWith("gpt2", (c) => Object.assign(c, { layer_norm_epsilon: 1e-6 }))).toBeGreaterThan(
      1e-3,
    );
  });

  it("the rope base, and its scaling", async () => {
    expect(
      await errorWith("qwen2-one-kv-head", (c) => Object.assign(c, { rope_theta: 11_000 })),
    ).toBeGreaterThan(1e-3);
    expect(
      await errorWith("llama3-scaled", (c) =>
        Object.assign(c, { rope_parameters: { rope_type: "default", rope_theta: 10_000 } }),
      ),
    ).toBeGreaterThan(1e-3);
  });

  it("a missing bias", async () => {
    expect(
      await errorWith("llama-head-dim", (c) => Object.assign(c, { attention_bias: false })),
    ).toBeGreaterThan(1e-3);
    expect(await errorWith("llama-head-dim", (c) => Object.assign(c, { mlp_bias: false }))).toBeGreaterThan(
      1e-3,
    );
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
    expect(Math.max(...difference) / Math.max(...seen.map(Math.abs))).toBeGreaterThan(1e-3);
    await model.close();
  });
});

describe("bfloat16 taps", () => {
  it("are the float32 values rounded to nearest, ties to even", async () => {
    const fixture = readFixture("smollm2-tied");
    const checkpoint = await openModel(fixture.folder);
    const batch = batchOf(fixture.cases[1]?.samples ?? []);
    const taps = ["blocks.0.hook_resid_post", "blocks.1.hook_mlp_out"];
    const [wide, narrow] = await Promise.all(
      (["float32", "bfloat16"] as const).map(async (tapDType) =>
        engine.load(buildGraph(checkpoint, { taps, selection: "rows", tapDType }), checkpoint.weights),
      ),
    );
    const [exact, rounded] = [await wide?.run(batch), await narrow?.run(batch)];
    for (const i of [0, 1]) {
      const values = new Float32Array(Uint8Array.from(exact?.[i]?.data ?? []).buffer);
      const patterns = new Uint16Array(Uint8Array.from(rounded?.[i]?.data ?? []).buffer);
      expect(values.length).toBeGreaterThan(1000);
      expect(patterns).toEqual(encodeBfloat16(values));
    }
  });
});
