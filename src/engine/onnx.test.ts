import { describe, expect, it } from "vitest";
import { encodeBfloat16 } from "../base/float16.js";
import { buildGraph, openModel } from "../model/model.js";
import {
  batchOf,
  describeEngine,
  loadAll,
  readFixture,
  relativeError,
  runTaps,
  worstError,
} from "./engine.suite.js";
import { onnxEngine } from "./onnx.js";
import { referenceEngine } from "./reference.js";

const engine = onnxEngine({ threads: 1 });
describeEngine(engine);

describe("batches of odd shapes", () => {
  it.each(["mistral", "gemma2", "gemma2-odd-heads", "gemma3", "phi3", "pythia", "gpt2-inner"])(
    "give what the reference gives (%s)",
    async (name) => {
      const { folder } = readFixture(name);
      const checkpoint = await openModel(folder);
      const [fast, slow] = await Promise.all([
        loadAll(engine, checkpoint),
        loadAll(referenceEngine(), checkpoint),
      ]);
      const samples = (lengths: number[]) =>
        lengths.map((length, s) => Array.from({ length }, (_, i) => (7 * s + 13 * i + s * i) % 67));
      // One token alone and among others; lengths at the edge of the windows (4, 5 and 6); padding longer than any sample.
      const shapes: [number[], number][] = [
        [[1], 0],
        [[1, 1, 1], 0],
        [[1], 9],
        [[4, 5], 0],
        [[3, 4, 5, 6, 7], 11],
        [[2, 40, 1], 0],
      ];
      for (const [lengths, padTo] of shapes) {
        const batch = batchOf(samples(lengths), padTo);
        const [found, expected] = [await runTaps(fast, batch), await runTaps(slow, batch)];
        for (const [hook, values] of expected)
          expect(relativeError(found.get(hook), values), `${lengths} ${hook}`).toBeLessThan(1e-5);
      }
      await fast.close();
      await slow.close();
    },
  );
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
      expect(values.length).toBeGreaterThan(900);
      expect(patterns).toEqual(encodeBfloat16(values));
    }
  });
});

describe("mapped weights", () => {
  const mapped = onnxEngine({ threads: 1, weights: "mapped" });

  it.each(["smollm2-tied", "llama3-scaled-old", "llama-head-dim", "gpt2"])(
    "of %s agree with PyTorch: bfloat16, float16, float32, the other way round",
    async (name) => {
      const fixture = readFixture(name);
      const model = await loadAll(mapped, await openModel(fixture.folder));
      expect(model.execution.prepacking).toBe(false);
      expect(await worstError(model, fixture)).toBeLessThan(1e-4);
      await model.close();
    },
  );
});
