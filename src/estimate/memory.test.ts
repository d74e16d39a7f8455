import { describe, expect, it } from "vitest";
import { choosePlacement, estimateMemory } from "./memory.js";

const GIB = 2 ** 30;
/** Llama 2 7B in bfloat16: 32 layers of 4 matrices 4096 x 4096 and 3 of 4096 x 11008, and the table of 32,000. */
const linearElements = 32 * (4 * 4096 * 4096 + 3 * 4096 * 11_008);
const otherElements = 32_000 * 4096 + 65 * 4096;
const LLAMA_7B = {
  linearElements,
  largestLinear: 4096 * 11_008,
  otherElements,
  storedBytes: 2 * (linearElements + otherElements),
};
const BATCH = 512 * 2 ** 20;

describe("estimateMemory", () => {
  it("7B in bfloat16: mapped, its own size and less than 2 GiB; packed, 4 bytes a parameter", () => {
    const mapped = estimateMemory(LLAMA_7B, "onnx", "mapped", BATCH);
    expect(mapped.mapped).toBe(LLAMA_7B.storedBytes);
    expect(mapped.private).toBeLessThan(2 * GIB);
    const packed = estimateMemory(LLAMA_7B, "onnx", "packed", BATCH);
    expect(packed.private / (4 * linearElements)).toBeGreaterThan(1);
    expect(packed.private - 4 * linearElements).toBeLessThan(2 * GIB);
    expect(packed.mapped).toBeCloseTo(2 * otherElements, -4);
    expect(estimateMemory(LLAMA_7B, "reference", "packed", BATCH).private).toBeGreaterThan(
      8 * linearElements,
    );
  });
});

describe("choosePlacement", () => {
  const choose = (asked: "auto" | "packed" | "mapped", total: number, engine = "onnx") =>
    choosePlacement(LLAMA_7B, engine, asked, BATCH, total);

  it("packs where that fits, maps where it does not, and says so", () => {
    expect(choose("auto", 64 * GIB)).toMatchObject({ placement: "packed", warning: null });
    expect(choose("auto", 24 * GIB)).toMatchObject({
      placement: "mapped",
      warning: expect.stringMatching(
        /stay in their file .*packed they would take 2\d\.\d of this machine's 25\.8 GB/,
      ),
    });
    expect(choose("mapped", 64 * GIB)).toMatchObject({ placement: "mapped", warning: null });
    expect(choose("auto", 8 * GIB).warning).toMatch(
      /13\.\d GB\) do not fit .*read from the disk for every batch/,
    );
  });

  it("refuses what cannot work, with the bytes and what to do", () => {
    expect(() => choose("auto", GIB)).toThrow(
      /does not fit this machine's memory; found 1.1 GB; expected 1.3 GB/,
    );
    expect(() => choose("packed", 24 * GIB)).toThrow(
      /expected 2\d.\d GB for one worker. Let --weights be auto or mapped/,
    );
    expect(() => choose("auto", 24 * GIB, "reference")).toThrow(/expected 5\d.\d GB/);
  });
});
