// `--engine`, `--device`, `--plugin`, `--compute-dtype` and `--tensor-parallel`: what computes, where, and in what. They depend on
// each other, so they are resolved together.

import { SluiceError } from "../base/errors.js";
import { chooseEngine, findDevices, type MachineDevices } from "../engine/choose-engine.js";
import { deviceOf } from "../engine/pjrt/find-plugins.js";
import type { ExtractOptions } from "../run/extract-options.js";
import { parseChoice, parseWhole } from "./values.js";

/** What is to compute. */
export interface EngineSettings
  extends Pick<
    ExtractOptions,
    "engine" | "device" | "plugin" | "computeDType" | "weights" | "tensorParallel"
  > {
  /** What the user should know: a device that is left unused. */
  readonly engineNote: string | undefined;
}

/** The flags as given; undefined where they are not. */
export interface EngineFlags {
  readonly engine: string | undefined;
  readonly device: string | undefined;
  readonly plugin: string | undefined;
  readonly computeDType?: string | undefined;
  readonly weights?: string | undefined;
  readonly tensorParallel?: string | undefined;
}

/** No host has more devices. */
const MAX_DEVICES = 256;

type Device = ExtractOptions["device"];

interface Chosen {
  readonly engine: string;
  readonly device: Device;
  readonly plugin?: string;
  readonly note?: string;
}

/**
 * Resolves them. Without `--engine`: XLA where `--plugin` or an accelerator is named, else what fits the machine.
 * @param look finds what the machine has. @throws SluiceError `usage` for values that cannot be read or do not go together, `config`
 * where there is no plug-in.
 */
export function resolveEngine(flags: EngineFlags, look: () => MachineDevices = findDevices): EngineSettings {
  const asked = parseChoice("--engine", flags.engine ?? "auto", ["auto", "onnx", "xla", "reference"]);
  const device = parseChoice("--device", flags.device ?? "auto", ["auto", "cpu", "cuda", "tpu"]);
  const computeDType = parseChoice("--compute-dtype", flags.computeDType ?? "auto", [
    "auto",
    "float32",
    "bfloat16",
  ]);
  const weights = parseChoice("--weights", flags.weights ?? "auto", ["auto", "packed", "mapped"]);
  const tensorParallel = parseWhole("--tensor-parallel", flags.tensorParallel ?? "1", 1, MAX_DEVICES);
  const isXla =
    asked === "xla" || (asked === "auto" && (flags.plugin !== undefined || isAccelerator(device)));
  const chosen: Chosen = isXla
    ? { engine: "xla", ...choosePlugin(flags.plugin, device, look) }
    : asked === "auto" && device === "auto"
      ? chooseEngine(look())
      : { engine: asked === "auto" ? "onnx" : asked, device: "cpu" as const };
  const { engine, plugin, note } = chosen;
  if (engine !== "onnx" && weights !== "auto")
    throw conflict("--weights is for --engine onnx", `--weights ${weights}`);
  if (engine !== "xla") {
    if (flags.plugin !== undefined) throw conflict("--plugin is for --engine xla", `--engine ${engine}`);
    if (isAccelerator(device)) throw conflict(`${engine} computes on the CPU`, `--device ${device}`);
    if (flags.tensorParallel !== undefined)
      throw conflict(
        `--tensor-parallel is for --engine xla, and ${engine} was ${asked === engine ? "asked for" : "chosen"}`,
        `--tensor-parallel ${tensorParallel}`,
      );
  }
  return {
    engine,
    device: chosen.device,
    plugin: plugin ?? null,
    computeDType,
    weights,
    tensorParallel,
    engineNote: note,
  };
}

function isAccelerator(device: Device | "auto"): boolean {
  return device === "cuda" || device === "tpu";
}

/** The plug-in for a device, or for the best that the machine has. */
function choosePlugin(
  file: string | undefined,
  device: Device | "auto",
  look: () => MachineDevices,
): { readonly device: Device; readonly plugin: string } {
  if (file !== undefined) {
    const named = deviceOf(file) ?? (device === "auto" ? "cpu" : device);
    if (device !== "auto" && device !== named)
      throw conflict(`${file} is a plug-in for ${named}`, `--device ${device}`);
    return { device: named, plugin: file };
  }
  const { tpu, cudaGpus, plugins } = look();
  const wanted = device !== "auto" ? device : tpu ? "tpu" : cudaGpus > 0 ? "cuda" : "cpu";
  const found = plugins.find((plugin) => plugin.device === wanted);
  if (found) return { device: wanted, plugin: found.file };
  throw new SluiceError("config", `there is no PJRT plug-in for ${wanted} on this machine`, {
    expected: "--plugin FILE, or one that `sluice plugins` lists",
    fix: `\`sluice plugins install ${wanted}\` gets one.`,
  });
}

function conflict(message: string, found: string): SluiceError {
  return new SluiceError("usage", message, { found, fix: "Leave one of them out." });
}
