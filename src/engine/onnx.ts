// ONNX Runtime on the CPU: the engine that comes with `npm ci`. Its settings are pinned and recorded, because they change
// bits; calls block the event loop, so that it runs in the engine's child process.

import "./no-telemetry.js";
import * as ort from "onnxruntime-node";
import { SluiceError } from "../base/errors.js";
import { type Graph, weightsOf } from "../graph/graph.js";
import { type LoweredOnnx, lowerToOnnx } from "../graph/onnx.js";
import type { Weights } from "../graph/weights.js";
import { describeCpu } from "./cpu.js";
import type { Engine, Execution, LoadedModel, TapOutput, TokenBatch } from "./engine.js";
import { storeMadeWeights } from "./made-weights.js";
import { meanWeights } from "./mean-weights.js";

/** What the engine is told. */
interface OnnxOptions {
  /** For the operators of one batch. */
  readonly threads: number;
  /** `packed` (the default) is faster; `mapped` needs no memory of its own for the weights. */
  readonly weights?: "packed" | "mapped";
}

/** The {@link Engine} on ONNX Runtime. */
export function onnxEngine(options: OnnxOptions): Engine {
  return {
    name: "onnx",
    async load(graph: Graph, weights: Weights): Promise<LoadedModel> {
      const lowered = lowerToOnnx(graph, storeMadeWeights(weights, weightsOf(graph)), options.weights);
      try {
        const session = await ort.InferenceSession.create(lowered.model, {
          executionProviders: ["cpu"],
          intraOpNumThreads: options.threads,
          interOpNumThreads: 1,
          executionMode: "sequential",
          graphOptimizationLevel: "all",
          enableMemPattern: false,
          logSeverityLevel: 3,
          extra: { session: { model_external_initializers_file_folder_path: lowered.folder } },
        });
        return new OnnxSession(session, lowered, graph, options);
      } catch (cause) {
        throw new SluiceError("config", "ONNX Runtime cannot load the model", {
          found: cause instanceof Error ? cause.message : String(cause),
          cause,
        });
      }
    },
  };
}

class OnnxSession implements LoadedModel {
  readonly execution: Execution;
  readonly #session: ort.InferenceSession;
  readonly #selection: LoweredOnnx["selection"];
  readonly #graph: Graph;

  constructor(session: ort.InferenceSession, lowered: LoweredOnnx, graph: Graph, options: OnnxOptions) {
    this.#session = session;
    this.#selection = lowered.selection;
    this.#graph = graph;
    this.execution = {
      engine: "onnx",
      version: ort.env.versions.node ?? ort.env.versions.common,
      device: "cpu",
      ...describeCpu(),
      threads: options.threads,
      optimisation: "all",
      prepacking: options.weights !== "mapped",
    };
  }

  async run(batch: TokenBatch): Promise<readonly TapOutput[]> {
    const tokens = new ort.Tensor("int32", batch.tokens, [batch.samples, batch.length]);
    const outputs = await this.#session.run({ tokens, ...this.#selectionInput(batch) });
    return this.#graph.taps.map((name) => describeOutput(name, outputs[name]));
  }

  async close(): Promise<void> {
    await this.#session.release();
  }

  #selectionInput(batch: TokenBatch): Record<string, ort.Tensor> {
    if (this.#selection === "rows") return { rows: new ort.Tensor("int32", batch.rows, [batch.rows.length]) };
    const { samples, length } = batch;
    const isMean = this.#selection === "mean";
    const weights = isMean ? meanWeights(batch) : maxWeights(batch);
    return {
      weights: new ort.Tensor("float32", weights, isMean ? [samples, 1, length] : [samples, length, 1]),
    };
  }
}

function describeOutput(name: string, tensor: ort.Tensor | undefined): TapOutput {
  const [rows, width] = tensor?.dims ?? [];
  const data = tensor?.data;
  if (
    rows === undefined ||
    width === undefined ||
    !(data instanceof Float32Array || data instanceof Uint16Array)
  ) {
    throw new Error(`ONNX Runtime gave no usable output ${name}`);
  }
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return { name, rows, width, dtype: data instanceof Float32Array ? "float32" : "bfloat16", data: bytes };
}

function maxWeights({ samples, length, rows }: TokenBatch): Float32Array {
  const weights = new Float32Array(samples * length).fill(Number.NEGATIVE_INFINITY);
  for (const row of rows) weights[row] = 0;
  return weights;
}
