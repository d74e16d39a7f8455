import { expect, it } from "vitest";
import type { MachineDevices } from "../engine/choose-engine.js";
import { type EngineFlags, resolveEngine } from "./engine-flags.js";

const plugin = (device: "cpu" | "cuda" | "tpu") => ({ file: `/found/${device}.so`, device, source: "test" });
const machine = (changes: Partial<MachineDevices> = {}): MachineDevices => ({
  tpu: null,
  cudaGpus: 0,
  plugins: [],
  ...changes,
});
const resolve = (flags: Partial<EngineFlags>, has: MachineDevices = machine()) => {
  const { engine, device, plugin } = resolveEngine(
    { engine: undefined, device: undefined, plugin: undefined, ...flags },
    () => has,
  );
  return `${engine} ${device} ${plugin}`;
};

it("takes what is named, and else what fits the machine", () => {
  const all = machine({
    tpu: { chips: 4, generation: "v5e" } as NonNullable<MachineDevices["tpu"]>,
    cudaGpus: 1,
    plugins: [plugin("cpu"), plugin("cuda"), plugin("tpu")],
  });
  expect(resolve({})).toBe("onnx cpu null");
  expect(resolve({}, all)).toBe("xla tpu /found/tpu.so");
  expect(resolve({ engine: "onnx" }, all)).toBe("onnx cpu null");
  expect(resolve({ device: "cpu" }, all)).toBe("onnx cpu null");
  expect(resolve({ device: "cuda" }, all)).toBe("xla cuda /found/cuda.so");
  expect(resolve({ engine: "xla" }, all)).toBe("xla tpu /found/tpu.so");
  expect(resolve({ engine: "xla", device: "cpu" }, all)).toBe("xla cpu /found/cpu.so");
  expect(resolve({ engine: "xla" }, machine({ plugins: [plugin("cpu")] }))).toBe("xla cpu /found/cpu.so");
  expect(resolve({ plugin: "/my/libtpu.so" })).toBe("xla tpu /my/libtpu.so");
  expect(resolve({ plugin: "/my/pjrt_c_api_cpu_plugin.so" })).toBe("xla cpu /my/pjrt_c_api_cpu_plugin.so");
  expect(resolve({ plugin: "/my/own.so", device: "cuda" })).toBe("xla cuda /my/own.so");
});

it.each<[Partial<EngineFlags>, RegExp]>([
  [{ engine: "warp" }, /--engine has an unknown value; found warp/],
  [{ device: "gpu" }, /--device has an unknown value; found gpu/],
  [{ engine: "onnx", plugin: "/a.so" }, /--plugin is for --engine xla; found --engine onnx/],
  [{ engine: "onnx", device: "tpu" }, /onnx computes on the CPU; found --device tpu/],
  [{ plugin: "/my/libtpu.so", device: "cuda" }, /libtpu.so is a plug-in for tpu; found --device cuda/],
  [{ engine: "onnx", tensorParallel: "2" }, /--tensor-parallel is for --engine xla, and onnx was asked for/],
  [{ tensorParallel: "2" }, /and onnx was chosen; found --tensor-parallel 2/],
  [{ plugin: "/my/cpu.so", tensorParallel: "0" }, /--tensor-parallel is out of range.*; found 0; expected/],
  [{ plugin: "/my/cpu.so", tensorParallel: "two" }, /--tensor-parallel is out of range or no whole number/],
  [{ plugin: "/my/cpu.so", weights: "packed" }, /--weights is for --engine onnx/],
  [{ engine: "reference", weights: "mapped" }, /--weights is for --engine onnx; found --weights mapped/],
  [{ engine: "xla" }, /no PJRT plug-in for cpu on this machine.*sluice plugins install cpu/],
  [{ device: "tpu" }, /no PJRT plug-in for tpu/],
])("refuses %j", (flags, message) => {
  expect(() => resolve(flags)).toThrow(message);
});
