// What `--engine auto` means: a TPU where there is one, else a CUDA GPU, else ONNX Runtime on the CPU.

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { SluiceError } from "../base/errors.js";
import { plural } from "../base/plural.js";
import { type FoundPlugin, findPlugins } from "./pjrt/find-plugins.js";
import { findTpu, type Tpu } from "./pjrt/tpu.js";

/** What a machine has that can compute. */
export interface MachineDevices {
  readonly tpu: Tpu | null;
  /** NVIDIA GPUs that this process may see. */
  readonly cudaGpus: number;
  readonly plugins: readonly FoundPlugin[];
}

/** An engine and where it runs. */
export interface EngineChoice {
  readonly engine: "onnx" | "xla";
  readonly device: "cpu" | "cuda" | "tpu";
  /** The plug-in's library, for `xla`. */
  readonly plugin?: string;
  /** What the user should know: a device that is left unused. */
  readonly note?: string;
}

/** Looks at this machine. @param root another root than `/`, for tests. */
export function findDevices(
  root = "/",
  env: Readonly<Record<string, string | undefined>> = process.env,
): MachineDevices {
  const hidden = env.CUDA_VISIBLE_DEVICES !== undefined && /^(-1)?$/.test(env.CUDA_VISIBLE_DEVICES.trim());
  return { tpu: findTpu(root), cudaGpus: hidden ? 0 : countGpus(root), plugins: findPlugins(env) };
}

/**
 * Chooses for `--engine auto`.
 * @throws SluiceError `config` on a TPU machine without libtpu: its CPU is not what was rented.
 */
export function chooseEngine({ tpu, cudaGpus, plugins }: MachineDevices): EngineChoice {
  const pluginFor = (device: "cuda" | "tpu") => plugins.find((plugin) => plugin.device === device)?.file;
  if (tpu) {
    const plugin = pluginFor("tpu");
    if (plugin !== undefined) return { engine: "xla", device: "tpu", plugin };
    throw new SluiceError("config", `this machine has ${describeTpu(tpu)}, but no libtpu.so was found`, {
      fix: "`sluice plugins install tpu` gets it; TPU_LIBRARY_PATH names one; --engine onnx uses the CPU.",
    });
  }
  if (cudaGpus > 0) {
    const plugin = pluginFor("cuda");
    if (plugin !== undefined) return { engine: "xla", device: "cuda", plugin };
    return {
      engine: "onnx",
      device: "cpu",
      note: "this machine has a CUDA GPU that is left unused: `sluice plugins install cuda` gets the plug-in for it",
    };
  }
  return { engine: "onnx", device: "cpu" };
}

/** `4 TPU chips (v5e)`. */
export function describeTpu({ chips, generation }: Tpu): string {
  return `${plural(chips, "TPU chip")}${generation === null ? "" : ` (${generation})`}`;
}

function countGpus(root: string): number {
  try {
    return readdirSync(join(root, "dev")).filter((name) => /^nvidia\d+$/.test(name)).length;
  } catch {
    return 0;
  }
}
