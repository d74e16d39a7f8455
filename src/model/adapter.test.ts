// LoRA adapters that peft saved, merged into their base models, against peft's own merge_and_unload
// (tools/make_adapter_fixtures.py).

import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { batchOf, relativeError, runTaps } from "../engine/engine.suite.js";
import { onnxEngine } from "../engine/onnx.js";
import { referenceEngine } from "../engine/reference.js";
import { readTensor } from "../graph/read-tensor.js";
import { buildGraph, openModel } from "./model.js";
import { openSafetensorsFiles } from "./safetensors.js";

const FIXTURES = fileURLToPath(new URL("../../test/fixtures/", import.meta.url));
const casesSchema = z.object({ base: z.string(), samples: z.array(z.array(z.number())) });
let scratch: string;
const before = process.env.XDG_CACHE_HOME;
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), "sluice-adapter-"));
  process.env.XDG_CACHE_HOME = scratch;
});
afterAll(() => {
  if (before === undefined) delete process.env.XDG_CACHE_HOME;
  else process.env.XDG_CACHE_HOME = before;
  rmSync(scratch, { recursive: true });
});

describe.each(["plain", "rslora-patterns", "conv1d"])("%s", (name) => {
  it.each([onnxEngine({ threads: 1 }), referenceEngine()])("on $name agrees with peft", async (engine) => {
    const folder = join(FIXTURES, "adapters", name);
    const { base, samples } = casesSchema.parse(JSON.parse(readFileSync(join(folder, "cases.json"), "utf8")));
    const checkpoint = await openModel(join(FIXTURES, "models", base), folder);
    const expected = await openSafetensorsFiles(folder, ["expected.safetensors"]);
    const taps = [0, 1].map((layer) => `blocks.${layer}.hook_resid_post`);
    const run = async (weights: typeof checkpoint.weights) => {
      const model = await engine.load(
        buildGraph(checkpoint, { taps, selection: "rows", tapDType: "float32" }),
        weights,
      );
      const found = await runTaps(model, batchOf(samples));
      await model.close();
      return found;
    };
    const merged = await run(checkpoint.weights);
    const plain = await run((await openModel(join(FIXTURES, "models", base))).weights);
    for (const tap of taps) {
      const tensor = expected.find(tap);
      const values = tensor ? readTensor(tensor) : new Float32Array();
      expect(values.length).toBeGreaterThan(500);
      expect(relativeError(merged.get(tap), values)).toBeLessThan(1e-5);
      expect(relativeError(plain.get(tap), values)).toBeGreaterThan(1e-2);
    }
  });
});

describe("refuses by name", () => {
  const open = (change: Record<string, unknown>, base = "smollm2-tied") => {
    const folder = mkdtempSync(join(scratch, "bad-"));
    cpSync(join(FIXTURES, "adapters/plain"), folder, { recursive: true });
    const config = JSON.parse(readFileSync(join(folder, "adapter_config.json"), "utf8"));
    writeFileSync(join(folder, "adapter_config.json"), JSON.stringify({ ...config, ...change }));
    return openModel(join(FIXTURES, "models", base), folder);
  };

  it.each([
    [
      { use_dora: true },
      /adapter_config.json: the field use_dora has a value that is not supported; found true/,
    ],
    [{ modules_to_save: ["embed_tokens"] }, /modules_to_save .*found \["embed_tokens"\]/],
    [{ peft_type: "IA3" }, /peft_type .*found IA3; expected LORA/],
    [{ bias: "all" }, /the field bias /],
    [{ init_lora_weights: "pissa" }, /init_lora_weights .*found pissa/],
    [{ some_new_method: { a: 1 } }, /some_new_method/],
    [{ r: "4" }, /no config of a LoRA adapter/],
    [{ r: 5 }, /tensors of model.layers.0.mlp.down_proj do not fit the model; found A \[4, 80\].*rank 5/],
  ])("%j", async (change, message) => {
    await expect(open(change)).rejects.toThrow(message);
  });

  it("another model's adapter, another kind of tensor, and no adapter", async () => {
    await expect(open({}, "llama-head-dim")).rejects.toThrow(
      /do not fit the model.*Is it an adapter of this model/,
    );
    await expect(open({}, "gpt2")).rejects.toThrow(/changes model.layers.0.*which the model does not have/);
    await expect(openModel(join(FIXTURES, "models/gpt2"), scratch)).rejects.toThrow(
      /no adapter at .*adapter_config.json/,
    );
    const folder = mkdtempSync(join(scratch, "bad-"));
    cpSync(join(FIXTURES, "adapters/plain"), folder, { recursive: true });
    const file = join(folder, "adapter_model.safetensors");
    writeFileSync(file, readFileSync(file, "latin1").replaceAll("lora_A", "lora_X"), "latin1");
    await expect(openModel(join(FIXTURES, "models/smollm2-tied"), folder)).rejects.toThrow(
      /lora_X.weight is not supported/,
    );
  });
});
