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
}

const ENGINES: Readonly<Record<string, (options: EngineOptions) => Engine>> = {
  onnx: onnxEngine,
  reference: referenceEngine,
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
