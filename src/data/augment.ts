// Seeded variants of an ARC task (`--augment N`): rotations, flips and permutations of the colours, the same for every
// grid of the task, so that a variant is as solvable as the task itself. Variant 0 is the task.

import { randomNumbers, shuffled } from "../base/random.js";
import type { ArcPair, ArcTask, Grid } from "./arc.js";

/** One of the eight symmetries of the square (bit 2: transpose first, then bit 1: flip rows, bit 0: flip columns) and a colour for each colour. */
export interface ArcTransform {
  readonly symmetry: number;
  readonly colours: readonly number[];
}

/**
 * The transform of one variant: a function of the run's seed, the record and the variant alone. The first eight variants
 * of a record have eight different symmetries.
 */
export function arcTransform(seed: number, record: number, variant: number): ArcTransform {
  const colours = Array.from({ length: 10 }, (_, colour) => colour);
  if (variant === 0) return { symmetry: 0, colours };
  const symmetries = shuffled([1, 2, 3, 4, 5, 6, 7], randomNumbers(`arc/${seed}/${record}`));
  const random = randomNumbers(`arc/${seed}/${record}/${variant}`);
  return { symmetry: [0, ...symmetries][variant % 8] ?? 0, colours: shuffled(colours, random) };
}

/** The task with every grid transformed. */
export function transformTask(task: ArcTask, transform: ArcTransform): ArcTask {
  return {
    shown: task.shown.map((pair) => transformPair(pair, transform)),
    test: transformPair(task.test, transform),
  };
}

/** The grid moved by the symmetry and recoloured; a bijection on grids. */
export function transformGrid(grid: Grid, { symmetry, colours }: ArcTransform): Grid {
  let moved: number[][] = grid.map((row) => [...row]);
  if (symmetry & 4) moved = (moved[0] ?? []).map((_, c) => moved.map((row) => row[c] ?? 0));
  if (symmetry & 2) moved.reverse();
  if (symmetry & 1) for (const row of moved) row.reverse();
  return moved.map((row) => row.map((colour) => colours[colour] ?? colour));
}

function transformPair(pair: ArcPair, transform: ArcTransform): ArcPair {
  return {
    input: transformGrid(pair.input, transform),
    output: pair.output === null ? null : transformGrid(pair.output, transform),
  };
}
