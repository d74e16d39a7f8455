// Against the gguf Python package (tools/make_gguf_fixtures.py), bit for bit: random blocks, and scales that are zero,
// negative zero, subnormal, the largest, and one.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { headerLength, parseSafetensorsHeader } from "../base/safetensors-header.js";
import { isQuantised, widenBlocks } from "./gguf-quants.js";

const bytes = new Uint8Array(
  readFileSync(fileURLToPath(new URL("../../test/fixtures/gguf/blocks.safetensors", import.meta.url))),
);
const length = headerLength(bytes, bytes.length, "blocks");
const { tensors } = parseSafetensorsHeader(bytes.subarray(8, 8 + length), bytes.length, "blocks");

function read(name: string): Uint8Array<ArrayBuffer> {
  const tensor = tensors.find((t) => t.name === name);
  if (!tensor) throw new Error(`no ${name}`);
  return bytes.slice(tensor.start, tensor.end);
}

it.each([
  ["Q8_0", 32, 34],
  ["Q4_0", 32, 18],
  ["Q4_1", 32, 20],
  ["Q4_K", 256, 144],
  ["Q6_K", 256, 210],
] as const)("%s", (name, elements, size) => {
  const packing = { name, elements, bytes: size };
  if (!isQuantised(packing)) throw new Error(name);
  const found = widenBlocks(packing, read(`${name}/blocks`));
  const expected = new Float32Array(read(`${name}/values`).buffer);
  expect(expected.length).toBeGreaterThanOrEqual(1280);
  expect(new Set(expected).size).toBeGreaterThan(200);
  expect(new Uint32Array(found.buffer)).toEqual(new Uint32Array(expected.buffer));
});
