import { expect, it } from "vitest";
import type { HloParameter } from "../graph/stablehlo.js";
import { requireDeviceMemory, weightBytesOnDevice } from "./device-memory.js";

/** 28 GB that can be split, and 1 GB that cannot. */
const PARAMETERS: readonly HloParameter[] = [
  { name: "a", shape: [14_000, 1_000_000], dtype: "bfloat16", split: 0 },
  { name: "b", shape: [500_000_000], dtype: "bfloat16", split: null },
];
const require = (tensorParallel: number, limit: number | null, devices = 8) =>
  requireDeviceMemory(PARAMETERS, { devices, tensorParallel, limit });

it("counts what is on each device", () => {
  expect(weightBytesOnDevice(PARAMETERS, 1)).toBe(29e9);
  expect(weightBytesOnDevice(PARAMETERS, 4)).toBe(8e9);
});

it("refuses what does not fit a device, and names the number of devices that it fits", () => {
  expect(() => require(1, 16e9)).toThrow(
    /does not fit a device's memory; found 29.0 GB of weights on each device; expected less than 16.0 GB.*--tensor-parallel 2/,
  );
  expect(() => require(2, 10e9)).toThrow(/--tensor-parallel 4/);
  expect(() => require(1, 16e9, 1)).toThrow(/Use a machine with larger devices/);
  expect(() => require(1, 32e9)).not.toThrow();
  expect(() => require(4, 10e9)).not.toThrow();
  expect(() => require(1, null)).not.toThrow();
});
