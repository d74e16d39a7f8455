// The seam between a model's graph and the machine that computes it. An engine runs inside a child process
// (run/engine-process.ts): a call here may block the event loop for as long as a batch takes.

import type { FloatDType } from "../base/dtype.js";
import type { Graph } from "../graph/graph.js";
import type { Weights } from "../graph/weights.js";

/** What a commit records of how its bytes were computed: equal execution gives equal bytes. Values are short strings or numbers. */
export type Execution = Readonly<Record<string, string | number | boolean>>;

/** Samples to be computed together. `length` is that of the longest; shorter ones are padded on the right. */
export interface TokenBatch {
  readonly samples: number;
  readonly length: number;
  /** i32 [samples x length]: token ids; padding is 0 and never read back. */
  readonly tokens: Int32Array;
  /** i32 [samples]: tokens of each sample, 1..length. */
  readonly lengths: Int32Array;
  /** i32 [selected]: flat indices (sample * length + position), ascending: the rows to give back, or to reduce. */
  readonly rows: Int32Array;
}

/** One tap's values for one batch: the selected rows one after the other, or one row a sample where the graph reduces. */
export interface TapOutput {
  readonly name: string;
  readonly rows: number;
  /** Elements a row. */
  readonly width: number;
  readonly dtype: FloatDType;
  /** Little-endian, rows x width elements. Valid until the next `run` that is not {@link LoadedModel.ahead}. */
  readonly data: Uint8Array;
}

/** A way of computing graphs. */
export interface Engine {
  /** `onnx`, `xla`, `reference`. */
  readonly name: string;
  /** @throws SluiceError `config` where the graph or the weights do not fit this engine. */
  load(graph: Graph, weights: Weights): Promise<LoadedModel>;
}

/** A graph with its weights, ready to run. */
export interface LoadedModel {
  /** Engine, version, CPU model and flags, threads, optimisation settings. */
  readonly execution: Execution;
  /** Batches that are worth asking for before the outputs of the one before them have been looked at; 0 where left out. */
  readonly ahead?: number;
  /** Runs one batch; the taps in the graph's order. @throws whatever the engine says; the caller counts it as a failed attempt. */
  run(batch: TokenBatch): Promise<readonly TapOutput[]>;
  close(): Promise<void>;
}
