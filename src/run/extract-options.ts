// What one worker was asked to do, resolved: every default filled in, every value checked for form.

import type { FloatDType } from "../base/dtype.js";

/** The options of `sluice extract`. Undefined means "not given". */
export interface ExtractOptions {
  readonly model: string;
  /** A LoRA adapter to be merged into the model. */
  readonly adapter: string | undefined;
  readonly dataset: string;
  readonly output: string;
  /** The run whose samples, rows and positions this one is to have. */
  readonly like: string | undefined;
  readonly workerId: number;
  /** Whether to help with other streams. */
  readonly steal: boolean;
  readonly layers: string;
  readonly hooks: string;
  readonly positions: string;
  readonly skipSpecial: boolean;
  /** As stored. */
  readonly dtype: FloatDType;
  /** `auto`: the checkpoint's on an accelerator, float32 on a CPU. */
  readonly computeDType: "auto" | "float32" | "bfloat16";
  readonly format: "safetensors" | "pkl.gz";
  /** Target size of a shard. */
  readonly shardBytes: number | undefined;
  readonly samplesPerShard: number | undefined;
  readonly maxSeqLength: number;
  readonly tooLong: "cut" | "cut-left" | "window" | "skip";
  /** Tokens from one window to the next; undefined for windows side by side. */
  readonly stride: number | undefined;
  /** Windows of a document at most. */
  readonly maxParts: number;
  /** Tokens of a context that documents are packed into. */
  readonly contextSize: number | undefined;
  readonly attendAcross: boolean;
  readonly dropShort: boolean;
  readonly maxSamples: number | undefined;
  readonly batchTokens: number;
  readonly batchSize: number | undefined;
  readonly column: string;
  readonly keepColumns: readonly string[];
  readonly prompt: "text" | "chat" | "arc";
  /** Variants of each ARC task, the task itself included; 1 for the task alone. */
  readonly augment: number;
  readonly bos: "tokenizer" | "always" | "never";
  readonly engine: string;
  readonly device: "cpu" | "cuda" | "tpu";
  /** The library of a PJRT plug-in, for `xla`. */
  readonly plugin: string | null;
  /** Devices that share one model, for `xla`; 1 where each has all of it. */
  readonly tensorParallel: number;
  /** How the engine holds the weights: packed for speed, or mapped from their file. */
  readonly weights: "auto" | "packed" | "mapped";
  readonly seed: number;
  readonly maxSkipped: number | "all" | "half";
  readonly threads: number;
  readonly retryFailed: boolean;
  /** Start although the estimate does not fit the disk. */
  readonly yes: boolean;
  /** The command line as typed, for the run's record; empty where there was none. */
  readonly command: readonly string[];
  readonly leaseSeconds: number;
  readonly spool: string | undefined;
  /** Where checkpoint_worker_N.json is copied too. */
  readonly checkpointDir: string | undefined;
}
