// The registry of engines: one line each.

import { SluiceError } from "../base/errors.js";
import type { Engine } from "./engine.js";
import { onnxEngine } from "./onnx.js";
import { referenceEngine } from "./reference.js";

/** What an engine is told. */
export interface EngineOptions {
  /** CPU threads for one batch. */
  readonly threads: number;
  /** How the matrices of linear layers are held; engines that know one way take it. */
  readonly weights: "packed" | "mapped";
  /** What matrix products read; engines that know float32 alone are given that. */
  readonly compute?: "float32" | "bfloat16";
  /** The library of a PJRT plug-in, for `xla`. */
  readonly plugin?: string | null;
  /** Devices that share the model, for `xla`; 1 where left out. */
  readonly tensorParallel?: number;
}

const ENGINES: Readonly<Record<string, (options: EngineOptions) => Engine>> = {
  onnx: onnxEngine,
  reference: referenceEngine,
  xla: ({ plugin, compute = "float32", threads, tensorParallel = 1 }) => {
    if (!plugin) throw new SluiceError("bug", "the engine xla was asked for without a plug-in");
    // Only where it is asked for: it loads a native library, which there is not for every machine.
    const options = { plugin, compute, threads, tensorParallel };
    const engine = import("./xla.js").then(({ xlaEngine }) => xlaEngine(options));
    engine.catch(() => {}); // Raised by load.
    return { name: "xla", load: async (graph, weights) => (await engine).load(graph, weights) };
  },
};

/** The engine of that name. @throws SluiceError `usage` naming those there are. */
export function createEngine(name: string, options: EngineOptions): Engine {
  const make = ENGINES[name];
  if (make) return make(options);
  throw new SluiceError("usage", "there is no such engine", {
    found: name,
    expected: Object.keys(ENGINES).join(", "),
  });
}
