// A worker that stays in a step until the test lets it go: what the test does meanwhile happens there, on a machine of any speed.

import { existsSync, writeFileSync } from "node:fs";
import { type Running, until } from "./helpers.js";

/** DESIGN.md, section 3: what a worker does for a unit, in order. `announce-steps.mjs` tells them apart. */
export const STEPS = [
  "lease taken",
  "computing into the spool",
  "hashing the spooled shard",
  "data object created",
  "run.json looked at again",
  "commit created",
  "lease released",
  "derived files",
] as const;

/** In which a worker, or `doctor`, can be held. */
export type Step = (typeof STEPS)[number] | "looking at the dataset" | "trying the store";

/** The environment in which a program writes its last step into a file. */
export function announceIn(file: string): Record<string, string> {
  const preload = new URL("./announce-steps.mjs", import.meta.url).href;
  return { NODE_OPTIONS: `--import ${preload}`, SLUICE_TEST_STEPS: file };
}

/** A step in which a program is held, the so many-th time that it takes it. */
export class Hold {
  /** For the program; each needs a hold of its own. */
  readonly env: Readonly<Record<string, string>>;
  readonly #file: string;
  readonly #what: string;

  /** @param file a name that is free, as are those that begin with it. */
  constructor(file: string, step: Step, times = 1) {
    this.#file = file;
    this.#what = `it stays in the step "${step}", taken ${times} times`;
    this.env = { ...announceIn(file), SLUICE_TEST_HOLD: `${times} ${step}` };
  }

  /** Until the program stays there. @throws Error where it has ended before. */
  reached(program: Running): Promise<void> {
    return until(() => existsSync(`${this.#file}.held`), program, this.#what);
  }

  /** Lets it go on. */
  release(): void {
    writeFileSync(`${this.#file}.go`, "");
  }
}
