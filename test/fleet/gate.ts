// Where workers wait before they begin a unit (count-computed.mjs): so a test decides what happens before what on any machine.

import { readFile, rename, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

/** Compiled or not, it is used in the project's folder. */
const COUNTER = pathToFileURL(join(process.cwd(), "test/fleet/count-computed.mjs")).href;

/** How many units all workers together may begin. It is closed at first. */
export class Gate {
  /** For the workers. */
  readonly env: Readonly<Record<string, string>>;
  readonly #computed: string;
  readonly #allowance: string;

  private constructor(folder: string) {
    this.#computed = join(folder, "computed");
    this.#allowance = join(folder, "may-begin");
    this.env = {
      NODE_OPTIONS: `--import ${COUNTER}`,
      SLUICE_TEST_COMPUTED: this.#computed,
      SLUICE_TEST_MAY_BEGIN: this.#allowance,
    };
  }

  /** @param folder there is nothing of another gate in it. */
  static async close(folder: string): Promise<Gate> {
    const gate = new Gate(folder);
    await gate.allow(0);
    return gate;
  }

  /** Units that were begun; what was begun and lost counts. */
  async countBegun(): Promise<number> {
    const { size } = await stat(this.#computed).catch(() => ({ size: 0 }));
    return size / 2;
  }

  /** How many units may have been begun, those of the past included. Where it is infinite nobody waits any more. */
  async allow(begun: number): Promise<void> {
    await writeFile(`${this.#allowance}.new`, String(begun));
    await rename(`${this.#allowance}.new`, this.#allowance);
  }

  /** How many units may have been begun by what was last said. */
  async allowed(): Promise<number> {
    return Number(await readFile(this.#allowance, "utf8"));
  }
}
