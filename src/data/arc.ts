// ARC tasks (Chollet 2019, "On the Measure of Intelligence") and the prompt made of one: the demonstrations, then the
// input of the test pair, up to the place where the model would begin the answer.

import { isFields } from "./fields.js";

/** A rectangular grid of colours 0 to 9, row by row; 1 to 30 rows and columns. */
export type Grid = readonly (readonly number[])[];

/** One demonstration or test pair. The test pair's output is null where the task does not tell it. */
export interface ArcPair {
  readonly input: Grid;
  readonly output: Grid | null;
}

/** A task: pairs that are shown, and one whose output is asked for. */
export interface ArcTask {
  readonly shown: readonly ArcPair[];
  readonly test: ArcPair;
}

/**
 * Reads a record as an ARC task: `{train, test}` (the first test pair is the test) or `{examples: [[input, output], ...]}`
 * (the last one is).
 * @returns the task, or in words why it is none.
 */
export function parseArcTask(value: unknown): ArcTask | { readonly reason: string } {
  if (!isFields(value)) return { reason: "not a JSON object" };
  const pairs = pairsOf(value);
  if ("reason" in pairs) return pairs;
  const [test, ...rest] = [...pairs.pairs].reverse();
  if (!test || rest.length === 0) return { reason: "an ARC task needs a shown pair and a test pair" };
  const unanswered = rest.findIndex((pair) => pair.output === null);
  if (unanswered >= 0) return { reason: "a shown pair has no output" };
  return { shown: rest.reverse(), test };
}

/**
 * The prompt: grids row by row, each row under its number, each grid under its shape. It ends where the answer's shape
 * would stand, so that nothing of the answer is told.
 *
 * @example
 * Pair 1
 * Input 2x3
 * 1: 0 0 7
 * 2: 0 7 0
 * Output 1x1
 * 1: 7
 * Test
 * Input 1x2
 * 1: 3 3
 * Output
 */
export function renderArcPrompt(task: ArcTask): string {
  const shown = task.shown.map(
    (pair, i) =>
      `Pair ${i + 1}\nInput ${renderGrid(pair.input)}Output ${pair.output ? renderGrid(pair.output) : ""}`,
  );
  return `${shown.join("")}Test\nInput ${renderGrid(task.test.input)}Output`;
}

/** The prompt and its answer: what the bundled model was trained on. Null where the task does not tell the answer. */
export function renderArcSolved(task: ArcTask): string | null {
  return task.test.output === null ? null : `${renderArcPrompt(task)} ${renderGrid(task.test.output)}`;
}

/** `2x3`, then each row under its number. Ends in a newline. */
export function renderGrid(grid: Grid): string {
  const rows = grid.map((row, r) => `${r + 1}: ${row.join(" ")}\n`);
  return `${grid.length}x${grid[0]?.length ?? 0}\n${rows.join("")}`;
}

function pairsOf(
  value: Readonly<Record<string, unknown>>,
): { pairs: ArcPair[] } | { readonly reason: string } {
  const raw: unknown[] = [];
  if (Array.isArray(value.train) && Array.isArray(value.test)) {
    raw.push(...value.train, value.test[0]);
  } else if (Array.isArray(value.examples)) {
    for (const example of value.examples) {
      if (!Array.isArray(example)) return { reason: "an example is not a pair [input, output]" };
      raw.push({ input: example[0], output: example[1] });
    }
  } else {
    return { reason: "neither {train, test} nor {examples}" };
  }
  const pairs: ArcPair[] = [];
  for (const [i, pair] of raw.entries()) {
    if (!isFields(pair)) return { reason: `pair ${i + 1} is not an object` };
    const input = checkGrid(pair.input, `the input of pair ${i + 1}`);
    if (typeof input === "string") return { reason: input };
    const output =
      pair.output === undefined || pair.output === null
        ? null
        : checkGrid(pair.output, `the output of pair ${i + 1}`);
    if (typeof output === "string") return { reason: output };
    pairs.push({ input, output });
  }
  return { pairs };
}

/** The grid, or in words what is wrong with it. */
function checkGrid(value: unknown, what: string): Grid | string {
  if (!Array.isArray(value) || value.length < 1 || value.length > 30)
    return `${what} does not have 1 to 30 rows`;
  const width: unknown = Array.isArray(value[0]) ? value[0].length : 0;
  const grid: number[][] = [];
  for (const row of value) {
    if (!Array.isArray(row) || row.length !== width || row.length < 1 || row.length > 30) {
      return `${what} is not a rectangle of 1 to 30 columns`;
    }
    const cells: number[] = [];
    for (const cell of row) {
      if (typeof cell !== "number" || !Number.isInteger(cell) || cell < 0 || cell > 9) {
        return `${what} has a cell that is no colour 0 to 9: ${JSON.stringify(cell)}`;
      }
      cells.push(cell);
    }
    grid.push(cells);
  }
  return grid;
}
