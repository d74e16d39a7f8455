// GGUF files as llama.cpp's converter writes them (tools/make_gguf_fixtures.py), held to the checkpoints that they were
// made from: every tensor bit for bit, the shape that follows from the metadata, and what engines compute.

import { cpSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { isSluiceError } from "../base/errors.js";
import { openTokenizer } from "../data/tokenizer.js";
import { loadAll, readFixture, worstError } from "../engine/engine.suite.js";
import { onnxEngine } from "../engine/onnx.js";
import { referenceEngine } from "../engine/reference.js";
import { readTensor } from "../graph/read-tensor.js";
import { isStored } from "../graph/weights.js";
import { buildGraph, openModel } from "./model.js";

const ROOT = fileURLToPath(new URL("../../test/fixtures/gguf/", import.meta.url));
const NAMES = [
  "llama-head-dim",
  "llama3-scaled-old",
  "smollm2-tied",
  "qwen2-two-kv-heads",
  "qwen3",
  "olmo2",
  "granite",
  "gpt2-inner",
] as const;
let cache: string;
const before = process.env.XDG_CACHE_HOME;
beforeAll(() => {
  cache = mkdtempSync(join(tmpdir(), "sluice-gguf-"));
  process.env.XDG_CACHE_HOME = cache;
});
afterAll(() => {
  if (before === undefined) delete process.env.XDG_CACHE_HOME;
  else process.env.XDG_CACHE_HOME = before;
  rmSync(cache, { recursive: true });
});

describe.each(NAMES)("%s", (name) => {
  it("has the checkpoint's tensors and shape", async () => {
    const original = await openModel(readFixture(name).folder);
    const { weights, shape } = await openModel(join(ROOT, `${name}.gguf`));
    const names = [...original.weights.names()];
    expect([...weights.names()]).toHaveLength(names.length);
    for (const full of names) {
      const base = full.replace(/^(model|transformer)\./, "");
      const [found, expected] = [weights.find(base), original.weights.find(base)];
      if (!found || !expected) throw new Error(`no ${base}`);
      expect(found.shape, base).toEqual(expected.shape);
      expect(readTensor(found), base).toEqual(readTensor(expected));
    }
    const facts = (s: object) => JSON.parse(JSON.stringify(s));
    // The converter does not say the activation, nor is GPT-2's ever another.
    const expected = facts(original.shape);
    expect(facts(shape)).toEqual(name === "gpt2-inner" ? { ...expected, activation: "gelu_tanh" } : expected);
  });
});

it("leaves where it lies what needs no change, and widens nothing that is plain", async () => {
  const { weights } = await openModel(join(ROOT, "smollm2-tied.gguf"));
  const made = [...weights.names()].filter((name) => {
    const tensor = weights.find(name);
    return tensor && !isStored(tensor);
  });
  expect(made.sort()).toEqual(
    [0, 1].flatMap((l) => ["k", "q"].map((p) => `layers.${l}.self_attn.${p}_proj.weight`)),
  );
  expect(weights.find("layers.0.self_attn.q_proj.weight")?.dtype).toBe("bfloat16");
});

describe.each([onnxEngine({ threads: 1 }), referenceEngine()])("$name", (engine) => {
  it.each(NAMES.filter((name) => name !== "gpt2-inner"))("agrees with PyTorch on %s.gguf", async (name) => {
    const model = await loadAll(engine, await openModel(join(ROOT, `${name}.gguf`)));
    expect(await worstError(model, readFixture(name))).toBeLessThan(1e-4);
    await model.close();
  });
});

describe("refuses", () => {
  const bytes = readFileSync(join(ROOT, "llama-head-dim.gguf"));
  const edited = async (from: string, to: string) => {
    const at = bytes.indexOf(from);
    expect(at).toBeGreaterThan(0);
    const copy = Buffer.from(bytes);
    copy.write(to, at, "latin1");
    const file = join(cache, "edited.gguf");
    writeFileSync(file, copy);
    return openModel(file);
  };

  it("an architecture, a tensor and a field that it does not know, by name", async () => {
    await expect(edited("llama", "mamba")).rejects.toThrow(
      /architecture is not supported; found mamba; expected llama/,
    );
    await expect(edited("blk.0.attn_q.", "blk.0.attn_z.")).rejects.toThrow(
      /the tensor blk.0.attn_z.(weight|bias) is not known/,
    );
    await expect(edited("llama.vocab_size", "llama.exp_counts")).rejects.toThrow(
      /the field llama.exp_counts is not known, and may change the model's results; found 199/,
    );
    await expect(edited("llama.block_count", "llama.block_xount")).rejects.toThrow(
      /llama.block_count is missing/,
    );
  });

  it("frequencies that are no Llama 3 scaling", async () => {
    const file = join(cache, "rope.gguf");
    const copy = Buffer.from(readFileSync(join(ROOT, "llama3-scaled-old.gguf")));
    const at = copy.indexOf(Buffer.from(Float32Array.of(8, 8).buffer));
    expect(at).toBeGreaterThan(0);
    copy.writeFloatLE(5, at);
    writeFileSync(file, copy);
    await expect(openModel(file)).rejects.toThrow(/rope_freqs.weight scales the rotary frequencies in a way/);
  });

  it("frequencies in another type, before it reads them", async () => {
    const file = join(cache, "rope.gguf");
    const copy = Buffer.from(readFileSync(join(ROOT, "llama3-scaled-old.gguf")));
    const name = "rope_freqs.weight";
    const type = copy.indexOf(name) + name.length + 12; // After the number of dimensions and the one dimension.
    expect(copy.readUInt32LE(type)).toBe(0);
    copy.writeUInt32LE(1, type);
    writeFileSync(file, copy);
    await expect(openModel(file)).rejects.toThrow(
      /rope_freqs.weight is not what it should be; found 4 of F16/,
    );
  });

  it("a truncated file, naming the tensor that is cut, and a file of another kind", async () => {
    const file = join(cache, "cut.gguf");
    cpSync(join(ROOT, "llama-head-dim.gguf"), file);
    truncateSync(file, bytes.length - 1000);
    await expect(openModel(file)).rejects.toThrow(
      /truncated in tensor .*; found \d+ bytes; expected at least \d+/,
    );
    truncateSync(file, 100);
    await expect(openModel(file)).rejects.toThrow(/truncated, or no GGUF file/);
    writeFileSync(file, "PK\u0003\u0004 and more");
    await expect(openModel(file)).rejects.toThrow(/no GGUF file/);
  });
});

it("survives any change of a header: the model opens, or is refused by a SluiceError, and soon", async () => {
  const file = join(cache, "fuzzed.gguf");
  const names = [
    "llama-head-dim",
    "llama3-scaled-old",
    "granite",
    "gpt2-inner",
    "tokenizers/llama-spm",
    "tokenizers/qwen2",
  ];
  const files = names.map((name) => readFileSync(join(ROOT, `${name}.gguf`)));
  const edit = fc.tuple(fc.nat(6000), fc.oneof(fc.integer({ min: 0, max: 255 }), fc.constantFrom(0, 1, 255)));
  let opened = 0;
  const refused = (error: unknown) => {
    if (!isSluiceError(error, "config") && !isSluiceError(error, "usage")) throw error;
  };
  await fc.assert(
    fc.asyncProperty(
      fc.nat(files.length - 1),
      fc.array(edit, { minLength: 1, maxLength: 5 }),
      async (which, edits) => {
        const bytes = Buffer.from(files[which] ?? []);
        for (const [at, value] of edits) bytes[at % bytes.length] = value;
        writeFileSync(file, bytes);
        try {
          const checkpoint = await openModel(file);
          buildGraph(checkpoint, {
            taps: ["blocks.0.hook_resid_post"],
            selection: "rows",
            tapDType: "float32",
          });
          opened += 1;
        } catch (error) {
          refused(error);
        }
        await openTokenizer(file).catch(refused);
      },
    ),
    { numRuns: 400 },
  );
  expect(opened).toBeGreaterThan(5);
}, 60_000);
