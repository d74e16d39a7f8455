// A unit's rows into its spool file, with calls that block: the engine's process has nothing else to do meanwhile.

import { closeSync, openSync, writeSync } from "node:fs";
import type { LoadedModel } from "../engine/engine.js";
import { computeUnit, type UnitJob, type UnitResult } from "./compute-unit.js";

/**
 * Computes all batches of a unit into a file that has the layout's fixed bytes.
 * @param onProgress as of {@link computeUnit}. @throws as computeUnit does, and the system error of writing the file.
 */
export async function computeIntoFile(
  model: LoadedModel,
  job: UnitJob,
  path: string,
  onProgress?: (tokens: number) => void,
): Promise<UnitResult> {
  const file = openSync(path, "r+");
  try {
    return await computeUnit(model, job, (bytes, offset) => writeAll(file, bytes, offset), onProgress);
  } finally {
    closeSync(file);
  }
}

function writeAll(file: number, bytes: Uint8Array, offset: number): void {
  let done = 0;
  while (done < bytes.length) done += writeSync(file, bytes, done, bytes.length - done, offset + done);
}
