// The estimate of a worker's memory against what ONNX Runtime really takes: on a random checkpoint of a published shape, in
// bfloat16. Linux tells a process's private memory.

import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { z } from "zod";
import { startProgram, temporaryFolder } from "../helpers.js";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const PROCESSES = 400 * 2 ** 20;
const reportSchema = z.object({
  measured: z.number(),
  batchBytes: z.number(),
  sizes: z.object({ linearElements: z.number(), largestLinear: z.number(), storedBytes: z.number() }),
  estimate: z.object({ private: z.number(), mapped: z.number() }),
});

it.runIf(process.platform === "linux")("is what the weights take, packed or mapped", async () => {
  const folder = join(await temporaryFolder(), "random");
  const make = [
    here("../../tools/make-random-checkpoint.mjs"),
    "--shape",
    "qwen2.5-0.5b",
    "--layers",
    "12",
    "--output",
    folder,
  ];
  expect(await startProgram(process.execPath, [...make, "--dtype", "bfloat16"]).ended).toMatchObject({
    code: 0,
  });
  const measure = async (weights: string) => {
    const ended = await startProgram(process.execPath, [here("engine-memory.mjs"), folder, weights]).ended;
    expect(ended, ended.stderr).toMatchObject({ code: 0 });
    return reportSchema.parse(JSON.parse(ended.stdout));
  };
  const [packed, mapped] = [await measure("packed"), await measure("mapped")];
  console.log(
    [packed, mapped]
      .map(
        (r) =>
          `measured ${(r.measured / 1e6).toFixed(0)} MB, estimated ${(r.estimate.private / 1e6).toFixed(0)} MB`,
      )
      .join("; "),
  );
  // What is estimated for the processes' own memory was there before the measurement began.
  expect(packed.measured).toBeGreaterThan(3.6 * packed.sizes.linearElements);
  expect(packed.measured).toBeLessThan(packed.estimate.private - PROCESSES / 2);
  expect(mapped.measured).toBeLessThan(mapped.estimate.private - PROCESSES / 2);
  expect(mapped.measured).toBeLessThan(0.25 * mapped.sizes.storedBytes);
});
