// Synchronous reads at a place of a file, whole or not at all: for the engine's process, which may block.

import { readSync } from "node:fs";
import { SluiceError } from "./errors.js";

/** Fills `into` from the file's bytes at `offset`. @param where the file's name in errors. @throws SluiceError `config` where the file ends before. */
export function readFully(file: number, into: Uint8Array, offset: number, where: string): void {
  for (let done = 0; done < into.length; ) {
    const read = readSync(file, into, done, into.length - done, offset + done);
    if (read === 0) {
      throw new SluiceError("config", `${where} is truncated`, {
        found: `its end at byte ${offset + done}`,
        expected: `at least ${offset + into.length} bytes`,
        fix: "Download it again.",
      });
    }
    done += read;
  }
}
