// Tensors that are made: what fill gives is what every engine computes with, once in a file, whoever dies meanwhile.

import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { readTensor } from "../graph/read-tensor.js";
import type { MadeTensor, Weights } from "../graph/weights.js";
import { buildGraph, openModel } from "../model/model.js";
import { batchOf, readFixture, relativeError, runTaps } from "./engine.suite.js";
import { storeMadeWeights } from "./made-weights.js";
import { onnxEngine } from "./onnx.js";
import { referenceEngine } from "./reference.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "sluice-made-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** A tensor of 0, 1, 2 ... in two pieces; counts how often it was made. */
function counting(name: string, calls: string[], madeFrom = "test"): MadeTensor {
  const bytes = new Uint8Array(Float32Array.from({ length: 16 }, (_, i) => i).buffer);
  return {
    name,
    dtype: "float32",
    shape: [4, 4],
    length: 64,
    madeFrom,
    fill(take) {
      calls.push(name);
      take(bytes.subarray(0, 20));
      take(bytes.subarray(20));
    },
  };
}

function weightsOf(...tensors: MadeTensor[]): Weights {
  return { names: () => tensors.map((t) => t.name), find: (name) => tensors.find((t) => t.name === name) };
}

describe("storeMadeWeights", () => {
  it("writes each tensor that is asked for once, and finds it again", () => {
    const calls: string[] = [];
    const weights = weightsOf(counting("a", calls), counting("b", calls), counting("c", calls));
    const first = storeMadeWeights(weights, ["a", "b"], folder);
    expect([...calls].sort()).toEqual(["a", "b"]);
    const again = storeMadeWeights(weights, ["a", "b"], folder);
    expect(calls).toHaveLength(2);
    const tensor = again.find("a");
    expect(tensor).toEqual(first.find("a"));
    expect(tensor && readFileSync(tensor.file)).toHaveLength(64);
    expect(tensor && readTensor(tensor)).toEqual(Float32Array.from({ length: 16 }, (_, i) => i));
    expect(() => again.find("c")).toThrow(/not asked for/);
    expect(again.find("d")).toBeUndefined();
  });

  it("makes another file of another source, and makes a torn one again", () => {
    const calls: string[] = [];
    const one = storeMadeWeights(weightsOf(counting("a", calls)), ["a"], folder).find("a");
    const other = storeMadeWeights(weightsOf(counting("a", calls, "edited")), ["a"], folder).find("a");
    expect(one?.file).not.toBe(other?.file);
    writeFileSync(one?.file ?? "", "torn");
    storeMadeWeights(weightsOf(counting("a", calls)), ["a"], folder);
    expect(readFileSync(one?.file ?? "")).toHaveLength(64);
    expect(calls).toHaveLength(3);
  });

  it("leaves nothing behind where a tensor cannot be made", () => {
    const broken = {
      ...counting("a", []),
      fill: () => {
        throw new Error("no such bits");
      },
    };
    expect(() => storeMadeWeights(weightsOf(broken), ["a"], folder)).toThrow("no such bits");
    expect(readdirSync(folder)).toEqual([]);
  });

  it("removes what nobody used for two weeks, and half-written files of the day before", () => {
    const old = new Date(Date.now() - 15 * 24 * 3600 * 1000);
    const yesterday = new Date(Date.now() - 25 * 3600 * 1000);
    for (const [name, time] of [
      ["x.bin", old],
      ["y.bin", yesterday],
      ["z.bin.1.ff", yesterday],
    ] as const) {
      writeFileSync(join(folder, name), "");
      utimesSync(join(folder, name), time, time);
    }
    storeMadeWeights(weightsOf(counting("a", [])), ["a"], folder);
    expect(readdirSync(folder).filter((name) => name.length < 20)).toEqual(["y.bin"]);
  });

  it("says what is wrong with the folder", () => {
    const file = join(folder, "file");
    writeFileSync(file, "");
    expect(() => storeMadeWeights(weightsOf(counting("a", [])), ["a"], join(file, "x"))).toThrow(
      /cannot be written to .*XDG_CACHE_HOME/,
    );
  });
});

it("engines compute with made tensors as with those that lie in files", async () => {
  const fixture = readFixture("smollm2-tied");
  const checkpoint = await openModel(fixture.folder);
  const { weights } = checkpoint;
  const made: Weights = {
    names: () => weights.names(),
    find(name) {
      const tensor = weights.find(name);
      if (!tensor || !name.includes("q_proj")) return tensor;
      const values = readTensor(tensor);
      const bytes = new Uint8Array(values.buffer);
      const { shape } = tensor;
      return {
        name: tensor.name,
        dtype: "float32",
        shape,
        length: bytes.length,
        madeFrom: "x",
        fill: (take) => take(bytes),
      };
    },
  };
  const graph = buildGraph(checkpoint, {
    taps: ["blocks.1.hook_resid_post"],
    selection: "rows",
    tapDType: "float32",
  });
  const batch = batchOf(fixture.cases[1]?.samples ?? []);
  const before = process.env.XDG_CACHE_HOME;
  process.env.XDG_CACHE_HOME = folder;
  try {
    const values = [];
    for (const engine of [onnxEngine({ threads: 1 }), referenceEngine()]) {
      const [plain, other] = [await engine.load(graph, weights), await engine.load(graph, made)];
      const [a, b] = [await runTaps(plain, batch), await runTaps(other, batch)];
      expect(b).toEqual(a);
      values.push(b.get("blocks.1.hook_resid_post") ?? new Float32Array());
      await plain.close();
      await other.close();
    }
    expect(relativeError(values[0], values[1] ?? new Float32Array())).toBeLessThan(1e-5);
    expect(existsSync(join(folder, "sluice/weights"))).toBe(true);
  } finally {
    if (before === undefined) delete process.env.XDG_CACHE_HOME;
    else process.env.XDG_CACHE_HOME = before;
  }
});
