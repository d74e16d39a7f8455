// Which files of a folder are read, and what of a checkpoint is refused by name.

import { cpSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, it } from "vitest";
import { chooseModelFiles } from "./locate.js";
import { buildGraph, openModel } from "./model.js";
import { openSafetensors } from "./safetensors.js";

const SHARDED = fileURLToPath(new URL("../../test/fixtures/models/llama-head-dim/", import.meta.url));
const INDEX = "model.safetensors.index.json";
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "sluice-safetensors-"));
  cpSync(SHARDED, folder, { recursive: true });
});
afterEach(() => rmSync(folder, { recursive: true }));

/** A file of one tensor. */
function write(file: string, name: string, dtype: string, bytes: Uint8Array): void {
  const header = JSON.stringify({ [name]: { dtype, shape: [4], data_offsets: [0, bytes.length] } });
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  writeFileSync(join(folder, file), Buffer.concat([length, Buffer.from(header), bytes]));
}

const parts = (): string[] => {
  const { weight_map: map } = JSON.parse(readFileSync(join(SHARDED, INDEX), "utf8"));
  return [...new Set<string>(Object.values(map))].sort();
};

it("takes model.safetensors where there are parts too, as transformers does, here and from the Hub", async () => {
  write("model.safetensors", "norm.weight", "F32", new Uint8Array(16));
  const { files, names } = await openSafetensors(folder);
  expect(files).toHaveLength(1);
  expect([...names()]).toEqual(["norm.weight"]);
  const repo = { name: "org/model", kind: "model", revision: "main" } as const;
  const there = ["config.json", INDEX, ...parts()];
  expect(chooseModelFiles(repo, there)).toEqual(there);
  expect(chooseModelFiles(repo, [...there, "model.safetensors"])).toEqual([
    "config.json",
    "model.safetensors",
  ]);
});

it("names a part that is missing, one that is truncated, and a tensor that is in none", async () => {
  expect(parts().length).toBeGreaterThan(2);
  const graph = async () =>
    buildGraph(await openModel(folder), {
      taps: ["blocks.1.hook_resid_post"],
      selection: "rows",
      tapDType: "float32",
    });
  expect((await graph()).nodes.length).toBeGreaterThan(10);
  const [first = "", second = ""] = parts();
  truncateSync(join(folder, second), 5000);
  await expect(graph()).rejects.toThrow(new RegExp(`${second}.*truncated|truncated.*${second}`));
  rmSync(join(folder, second));
  await expect(graph()).rejects.toThrow(`lacks ${second}`);
  writeFileSync(join(folder, INDEX), JSON.stringify({ weight_map: { "norm.weight": first } }));
  await expect(graph()).rejects.toThrow(/the checkpoint has no tensor \S+\.weight; expected shape \[/);
});

it.each(["F8_E4M3", "U8", "F64"])(
  "names a tensor in %s and its dtype, where the model needs it",
  async (dtype) => {
    write("model.safetensors", "model.norm.weight", dtype, new Uint8Array(dtype === "F64" ? 32 : 4));
    const weights = await openSafetensors(folder);
    expect(weights.find("embed_tokens.weight")).toBeUndefined();
    expect(() => weights.find("norm.weight")).toThrow(
      new RegExp(`the tensor model.norm.weight .* not read; found ${dtype}; expected F32, BF16 or F16`),
    );
  },
);
