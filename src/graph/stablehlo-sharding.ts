// Spells where tensors lie on the chips that share a program, in Shardy's dialect (openxla.org/shardy), which XLA's partitioner follows.
// Chips have two numbers: the part of the heads that they compute, and their place among those that have the same part.

import type { TensorParallel } from "./tensor-parallel.js";

const MESH = "@chips";

/** Attributes of a module for so many chips, and the line that lays them out; nothing for one. */
export function spellMesh(plan: TensorParallel | undefined): { attributes: string; mesh: string } {
  if (!plan) return { attributes: "", mesh: "" };
  const sizes = axesOf(plan).map(([axis, size]) => `"${axis}"=${size}`);
  return {
    attributes: ` attributes {mhlo.num_partitions = ${plan.chips} : i32, mhlo.num_replicas = 1 : i32}`,
    mesh: `  sdy.mesh ${MESH} = <[${sizes.join(", ")}]>\n`,
  };
}

/**
 * A tensor of so many dimensions of which one is split: `<@chips, [{}, {"heads", "rest"}]>`. @param dimension null where all chips have
 * all of it. @param over all chips, or the parts of the heads.
 */
export function spellSharding(
  plan: TensorParallel,
  rank: number,
  dimension: number | null,
  over: "chips" | "heads" = "chips",
): string {
  const axes = axesOf(plan)
    .filter(([axis]) => over === "chips" || axis === "heads")
    .map(([axis]) => `"${axis}"`);
  const dimensions = Array.from({ length: rank }, (_, i) =>
    i === dimension ? `{${axes.join(", ")}}` : "{}",
  );
  return `<${MESH}, [${dimensions.join(", ")}]>`;
}

function axesOf({ chips, headParts }: TensorParallel): (readonly [axis: "heads" | "rest", size: number])[] {
  const axes = [["heads", headParts] as const, ["rest", chips / headParts] as const];
  return axes.filter(([, size]) => size > 1);
}
