import { describe, expect, it } from "vitest";
import { encodeBfloat16 } from "../base/float16.js";
import { buildGraph, openModel } from "../model/model.js";
import { batchOf, describeEngine, readFixture } from "./engine.suite.js";
import { onnxEngine } from "./onnx.js";

const engine = onnxEngine({ threads: 1 });
describeEngine(engine);

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
