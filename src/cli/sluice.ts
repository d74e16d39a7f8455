#!/usr/bin/env node
// The entry point of the program `sluice`. It leaves by process.exit: an engine's process or a thread inside a native call
// must not keep a worker that is done, or told to go.

import { EXIT_CODES } from "../base/errors.js";
import { runProgram } from "./main.js";

// Whoever reads the output may go away (`| head`, a log that is cut off): the work is worth finishing all the same. A result that the
// disk did not take is another thing: the caller must hear of it.
let lost: NodeJS.ErrnoException | undefined;
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") lost ??= error;
});
process.stderr.on("error", () => {});

// Node would leave with 13, which means nothing to anybody: whoever is waited for is gone, and that is a bug.
process.once("beforeExit", () => {
  process.stderr.write("sluice: this is a bug: nothing is left that could end what the program waits for\n");
  process.exit(EXIT_CODES.bug);
});

const code = await runProgram(process.argv.slice(2));
await new Promise(setImmediate); // A file's write fails at once, and says so a moment later.
if (lost && code === 0) {
  process.stderr.write(
    `sluice: the output cannot be written; found ${lost.message}. Write it to another place.\n`,
  );
  process.exit(EXIT_CODES.store);
}
process.exit(code);
