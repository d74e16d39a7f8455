// The memory of one worker, before it starts: pure arithmetic on the sizes of the model's parameters. What each engine
// does with them was measured (docs/models.md), and an integration test holds the numbers to it.

import { SluiceError } from "../base/errors.js";

/** Sizes of the parameters that are used (graph/weight-sizes.ts). */
export interface ModelSizes {
  readonly linearElements: number;
  readonly largestLinear: number;
  readonly otherElements: number;
  readonly storedBytes: number;
}

/**
 * How the ONNX engine holds the matrices of linear layers. `packed`: widened to float32 and packed for its kernels at load, in
 * private memory. `mapped`: as they lie in the file, each widened when it is used.
 */
export type WeightPlacement = "packed" | "mapped";

/** Bytes of memory. */
export interface MemoryNeed {
  /** Nobody else's, and not to be given back. */
  readonly private: number;
  /** Files: shared by the workers of a machine, and given back when memory is short, at the price of reading them again. */
  readonly mapped: number;
}

/** Node twice (worker and engine), the engine's library, a tokenizer of 150,000 tokens. */
const PROCESSES = 400 * 2 ** 20;

/** What a worker needs. @param batchBytes outputs and intermediates of a batch at most. */
export function estimateMemory(
  sizes: ModelSizes,
  engine: string,
  placement: WeightPlacement,
  batchBytes: number,
): MemoryNeed {
  const { linearElements, largestLinear, otherElements, storedBytes } = sizes;
  if (engine === "reference")
    return { private: PROCESSES + 8 * (linearElements + otherElements) + batchBytes, mapped: 0 };
  if (placement === "mapped") {
    // Of a matrix in use its widened copy, and the next one's in the allocator.
    return { private: PROCESSES + 8 * largestLinear + batchBytes, mapped: storedBytes };
  }
  const tables = storedBytes * (otherElements / (linearElements + otherElements));
  return { private: PROCESSES + 4 * (linearElements + largestLinear) + batchBytes, mapped: tables };
}

/** How to hold the weights, and what the user should know of it. */
export interface PlacementChoice {
  readonly placement: WeightPlacement;
  readonly need: MemoryNeed;
  readonly warning: string | null;
}

/**
 * Chooses for a machine: packed where that fits, else mapped. A function of the machine's whole memory, never of what is free
 * now, so that the choice does not depend on its mood.
 * @param asked `auto`, or what the user wants. @param total the machine's or container's memory in bytes.
 * @throws SluiceError `config` where even the smallest way does not fit.
 */
export function choosePlacement(
  sizes: ModelSizes,
  engine: string,
  asked: WeightPlacement | "auto",
  batchBytes: number,
  total: number,
): PlacementChoice {
  const needOf = (placement: WeightPlacement) => estimateMemory(sizes, engine, placement, batchBytes);
  const order: readonly WeightPlacement[] =
    asked === "auto" && engine !== "reference" ? ["packed", "mapped"] : [asked === "auto" ? "packed" : asked];
  const placement = order.find((way) => needOf(way).private <= total);
  if (placement === undefined) {
    const least = needOf(order.at(-1) ?? "packed").private;
    throw new SluiceError("config", "the model does not fit this machine's memory", {
      found: `${gigabytes(total)} GB`,
      expected: `${gigabytes(least)} GB for one worker`,
      fix:
        order.at(-1) === "packed" && engine !== "reference"
          ? "Let --weights be auto or mapped, or use a larger machine."
          : "Use a larger machine, or fewer --layers from the bottom.",
    });
  }
  const need = needOf(placement);
  const all = need.private + need.mapped;
  const reread = placement === "mapped" && all > total;
  const told = asked === "auto" && placement === "mapped";
  const warning = reread
    ? `the weights (${gigabytes(need.mapped)} GB) do not fit this machine's memory (${gigabytes(total)} GB): they are read from the disk for every batch`
    : told
      ? `the weights stay in their file (--weights mapped), because packed they would take ${gigabytes(needOf("packed").private)} of this machine's ${gigabytes(total)} GB`
      : null;
  return { placement, need, warning };
}

function gigabytes(bytes: number): string {
  return (bytes / 1e9).toFixed(1);
}
