// The memory of a worker that computes by XLA, before it starts.

import { SluiceError } from "../base/errors.js";
import type { MemoryNeed, ModelSizes } from "./memory.js";

/** Node twice, the plug-in, a tokenizer of 150,000 tokens (300 MiB); compiled programs, and one that is loaded (engine/xla-programs.ts). */
const PROCESSES = (300 + 256 + 128) * 2 ** 20;

/** Where and how a model is computed. */
export interface XlaMemoryOptions {
  readonly device: "cpu" | "cuda" | "tpu";
  readonly compute: "float32" | "bfloat16";
  /** Devices that share the model. */
  readonly tensorParallel: number;
  /** Outputs and intermediates of a batch at most. */
  readonly batchBytes: number;
  /** The machine's or container's memory in bytes. */
  readonly total: number;
}

/**
 * What a worker needs of the machine's memory. On a CPU the weights are there once in the dtype that is computed in: read in place where
 * the file has them in that dtype and at a multiple of 64 bytes, which this does not count on. A CPU's devices that share the model each
 * have their part of them, and a batch of their own. An accelerator has its own memory (engine/device-memory.ts).
 * @throws SluiceError `config` where that does not fit.
 */
export function estimateXlaMemory(sizes: ModelSizes, options: XlaMemoryOptions): MemoryNeed {
  const { linearElements, otherElements, storedBytes } = sizes;
  const { device, compute, tensorParallel, total } = options;
  const batchBytes = options.batchBytes * (device === "cpu" ? tensorParallel : 1);
  const tables = storedBytes * (otherElements / Math.max(1, linearElements + otherElements));
  const weights = device === "cpu" ? linearElements * (compute === "float32" ? 4 : 2) + tables : 0;
  const need = { private: PROCESSES + weights + batchBytes, mapped: storedBytes };
  if (need.private <= total) return need;
  const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`;
  throw new SluiceError("config", "the model does not fit this machine's memory", {
    found: gigabytes(total),
    expected: `${gigabytes(need.private)} for one worker`,
    fix:
      compute === "float32"
        ? "Try --compute-dtype bfloat16, a larger machine, or fewer --layers from the bottom."
        : "Use a larger machine, or fewer --layers from the bottom.",
  });
}
