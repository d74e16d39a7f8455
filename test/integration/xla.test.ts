// The XLA engine on a CPU plug-in: the shared suite in float32, bfloat16 beside PyTorch's float32, several devices. Needs
// SLUICE_TEST_PJRT_CPU, the library of a PJRT plug-in for CPUs (.ci/run fetches one).

import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { encodeBfloat16 } from "../../src/base/float16.js";
import {
  batchOf,
  describeEngine,
  errorsOf,
  FIXTURES,
  loadAll,
  readFixture,
  relativeError,
  runTaps,
} from "../../src/engine/engine.suite.js";
import { onnxEngine } from "../../src/engine/onnx.js";
import { xlaEngine } from "../../src/engine/xla.js";
import { buildGraph, openModel } from "../../src/model/model.js";
import { CPU_PLUGIN, sayWhatIsSkipped } from "./pjrt-plugins.js";

const plugin = CPU_PLUGIN ?? "";
sayWhatIsSkipped("the XLA engine", "SLUICE_TEST_PJRT_CPU");

describe.skipIf(plugin === "")("the XLA engine on a CPU", () => {
  const cache = mkdtempSync(join(tmpdir(), "sluice-xla-"));
  process.env.XDG_CACHE_HOME = cache;
  afterAll(() => rmSync(cache, { recursive: true }));

  const engine = xlaEngine({ plugin, compute: "float32", threads: 2 });
  describeEngine(engine);

  /** Of the checkpoint with its weights in bfloat16; PyTorch's own bfloat16 is up to 8.5e-2 away on these fixtures. */
  it.each(FIXTURES)("bfloat16 agrees with PyTorch's float32 to 2e-2 (%s)", async (name) => {
    const fixture = readFixture(name);
    const narrow = xlaEngine({ plugin, compute: "bfloat16", threads: 2 });
    const model = await loadAll(narrow, await openModel(fixture.folder));
    const errors = await errorsOf(model, fixture, fixture.expectedBfloat16);
    await model.close();
    expect([...errors].filter(([, error]) => !(error < 2e-2))).toEqual([]);
    expect(errors.size).toBeGreaterThan(20);
    // It is bfloat16 that was computed.
    expect(Math.max(...errors.values())).toBeGreaterThan(1e-3);
  });

  it("gives the same rows on four devices as on one, in the same order", async () => {
    const checkpoint = await openModel(readFixture("qwen3-window").folder);
    const four = await loadAll(
      xlaEngine({ plugin, compute: "float32", threads: 2, cpuDevices: 4 }),
      checkpoint,
    );
    const one = await loadAll(engine, checkpoint);
    expect(four.execution.devices).toBe(4);
    expect(four.ahead).toBe(4);
    const batches = Array.from({ length: 9 }, (_, b) =>
      batchOf(
        [0, 1, 2].map((s) =>
          Array.from({ length: 3 + ((5 * b + s) % 11) }, (_, i) => (7 * b + 13 * i + s) % 67),
        ),
      ),
    );
    const together = await Promise.all(batches.slice(0, 5).map((batch) => runTaps(four, batch)));
    for (const batch of batches.slice(5)) together.push(await runTaps(four, batch));
    for (const [b, batch] of batches.entries()) {
      const expected = await runTaps(one, batch);
      for (const [hook, values] of expected)
        expect(together[b]?.get(hook), `batch ${b}, ${hook}`).toEqual(values);
    }
    await four.close();
    await one.close();
  });

  it("takes one device of a CPU plug-in whose name does not say what it is", async () => {
    const nameless = join(cache, "plugin.so");
    copyFileSync(plugin, nameless);
    const checkpoint = await openModel(readFixture("qwen3-window").folder);
    const model = await loadAll(xlaEngine({ plugin: nameless, compute: "float32", threads: 2 }), checkpoint);
    expect(model.execution).toMatchObject({ plugin: "plugin.so", platform: "cpu", devices: 1 });
    await model.close();
  });

  it("rounds taps to bfloat16 on the device, to nearest, ties to even", async () => {
    const fixture = readFixture("smollm2-tied");
    const checkpoint = await openModel(fixture.folder);
    const batch = batchOf(fixture.cases[1]?.samples ?? []);
    const taps = ["blocks.0.hook_resid_post", "blocks.1.hook_mlp_out"];
    const [exact, rounded] = await Promise.all(
      (["float32", "bfloat16"] as const).map(async (tapDType) => {
        const graph = buildGraph(checkpoint, { taps, selection: "rows", tapDType });
        const model = await engine.load(graph, checkpoint.weights);
        const outputs = (await model.run(batch)).map(({ data }) => Uint8Array.from(data));
        await model.close();
        return outputs;
      }),
    );
    for (const i of [0, 1]) {
      const values = new Float32Array(exact?.[i]?.buffer ?? new ArrayBuffer(0));
      expect(values.length).toBeGreaterThan(900);
      expect(new Uint16Array(rounded?.[i]?.buffer ?? new ArrayBuffer(0))).toEqual(encodeBfloat16(values));
    }
  });

  it("pads long samples, in several blocks of attention, without a trace", async () => {
    const checkpoint = await openModel(readFixture("gemma2").folder);
    const [found, expected] = await Promise.all(
      [engine, onnxEngine({ threads: 1 })].map(async (e) => {
        const model = await loadAll(e, checkpoint);
        const ids = Array.from({ length: 601 }, (_, i) => (13 * i) % 67);
        const taps = await runTaps(model, batchOf([ids, ids.slice(100), ids.slice(300)]));
        await model.close();
        return taps;
      }),
    );
    for (const [hook, values] of expected ?? [])
      expect(relativeError(found?.get(hook), values), hook).toBeLessThan(1e-4);
    expect(found?.size).toBeGreaterThan(10);
  });
});
