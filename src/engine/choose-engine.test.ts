import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { chooseEngine, findDevices } from "./choose-engine.js";
import type { FoundPlugin } from "./pjrt/find-plugins.js";

const plugin = (device: "cpu" | "cuda" | "tpu"): FoundPlugin => ({
  file: `/${device}.so`,
  device,
  source: "test",
});
const all = [plugin("cpu"), plugin("cuda"), plugin("tpu")];
const tpu = { chips: 4, generation: "v4" };

it("takes a TPU where there is one, else a CUDA GPU, else ONNX Runtime", () => {
  const on = (device: "cuda" | "tpu") => ({ engine: "xla", device, plugin: `/${device}.so` });
  expect(chooseEngine({ tpu, cudaGpus: 1, plugins: all })).toEqual(on("tpu"));
  expect(chooseEngine({ tpu: null, cudaGpus: 1, plugins: all })).toEqual(on("cuda"));
  expect(chooseEngine({ tpu: null, cudaGpus: 0, plugins: all })).toEqual({ engine: "onnx", device: "cpu" });
});

it("says what is missing: on a TPU machine as an error, on a machine with a GPU as a note", () => {
  expect(() => chooseEngine({ tpu, cudaGpus: 0, plugins: [plugin("cpu")] })).toThrow(
    /4 TPU chips \(v4\), but no libtpu\.so was found.*sluice plugins install tpu/,
  );
  const choice = chooseEngine({ tpu: null, cudaGpus: 2, plugins: [plugin("cpu")] });
  expect(choice).toMatchObject({ engine: "onnx", device: "cpu" });
  expect(choice.note).toContain("sluice plugins install cuda");
});

it("counts the GPUs that may be seen", () => {
  const root = mkdtempSync(join(tmpdir(), "sluice-gpus-"));
  try {
    mkdirSync(join(root, "dev"));
    for (const name of ["nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"])
      writeFileSync(join(root, "dev", name), "");
    expect(findDevices(root, {}).cudaGpus).toBe(2);
    expect(findDevices(root, { CUDA_VISIBLE_DEVICES: "1" }).cudaGpus).toBe(2);
    expect(findDevices(root, { CUDA_VISIBLE_DEVICES: "" }).cudaGpus).toBe(0);
    expect(findDevices(root, { CUDA_VISIBLE_DEVICES: "-1" }).cudaGpus).toBe(0);
  } finally {
    rmSync(root, { recursive: true });
  }
});
