import { expect, it } from "vitest";
import { estimateXlaMemory } from "./xla-memory.js";

const GIB = 2 ** 30;
/** 7 billion parameters in bfloat16, of which 131 million are tables. */
const sizes = {
  linearElements: 6.5e9,
  largestLinear: 45e6,
  otherElements: 131e6,
  storedBytes: 2 * 6.631e9,
};
const on = (device: "cpu" | "tpu", compute: "float32" | "bfloat16", total: number, tensorParallel = 1) =>
  estimateXlaMemory(sizes, { device, compute, tensorParallel, batchBytes: 512 * 2 ** 20, total });

it("counts the weights once on a CPU, in the dtype that is computed in, and not at all on an accelerator", () => {
  expect(on("cpu", "float32", 64 * GIB).private).toBeGreaterThan(4 * 6.5e9);
  expect(on("cpu", "float32", 64 * GIB).private).toBeLessThan(1.1 * 4 * 6.631e9 + GIB);
  expect(on("cpu", "bfloat16", 64 * GIB).private).toBeLessThan(1.1 * 2 * 6.631e9 + GIB);
  expect(on("tpu", "bfloat16", 4 * GIB).private).toBeLessThan(2 * GIB);
  expect(() => on("cpu", "float32", 24 * GIB)).toThrow(
    /found 25.8 GB; expected 27.5 GB .*Try --compute-dtype bfloat16/,
  );
});

it("counts a batch for each of a CPU's devices that share the model, and the weights once", () => {
  const [one, four] = [1, 4].map((devices) => on("cpu", "float32", 64 * GIB, devices).private);
  expect((four ?? 0) - (one ?? 0)).toBe(3 * 512 * 2 ** 20);
  expect(on("tpu", "bfloat16", 4 * GIB, 4)).toEqual(on("tpu", "bfloat16", 4 * GIB));
});
