// `--engine`, `--device`, `--plugin` and `--compute-dtype`: what computes, where, and in what. They depend on each other, so
// they are resolved together.

import { SluiceError } from "../base/errors.js";
import type { ExtractOptions } from "../run/extract-options.js";
import { parseChoice } from "./values.js";

/** What is to compute. */
export type EngineSettings = Pick<
  ExtractOptions,
  "engine" | "device" | "plugin" | "computeDType" | "weights"
>;

/** The flags as given; undefined where they are not. */
export interface EngineFlags {
  readonly engine: string | undefined;
  readonly device: string | undefined;
  readonly plugin: string | undefined;
  readonly computeDType?: string | undefined;
  readonly weights?: string | undefined;
}

/**
 * Resolves them.
 * @throws SluiceError `usage` for values that cannot be read or do not go together, `config` where there is no plug-in.
 */
export function resolveEngine(flags: EngineFlags): EngineSettings {
  const engine = parseChoice("--engine", flags.engine ?? "auto", ["auto", "onnx", "xla", "reference"]);
  const device = parseChoice("--device", flags.device ?? "auto", ["auto", "cpu"], ["cuda", "tpu"]);
  const computeDType = parseChoice("--compute-dtype", flags.computeDType ?? "auto", [
    "auto",
    "float32",
    "bfloat16",
  ]);
  const weights = parseChoice("--weights", flags.weights ?? "auto", ["auto", "packed", "mapped"]);
  const isXla = engine === "xla" || (engine === "auto" && flags.plugin !== undefined);
  if (!isXla) {
    const chosen = engine === "auto" ? "onnx" : engine;
    if (flags.plugin !== undefined) throw conflict(`--plugin is for --engine xla`, `--engine ${chosen}`);
    return { engine: chosen, device: "cpu", plugin: null, computeDType, weights };
  }
  if (weights !== "auto") throw conflict("--weights is for --engine onnx", `--weights ${weights}`);
  if (flags.plugin === undefined) throw new SluiceError("usage", "--engine xla needs --plugin", {});
  return {
    engine: "xla",
    device: device === "auto" ? "cpu" : device,
    plugin: flags.plugin,
    computeDType,
    weights,
  };
}

function conflict(message: string, found: string): SluiceError {
  return new SluiceError("usage", message, { found, fix: "Leave one of them out." });
}
