#!/usr/bin/env node
// The entry point of the program `sluice`. It leaves by process.exit: an engine's process or a thread inside a native call
// must not keep a worker that is done, or told to go.

import { EXIT_CODES } from "../base/errors.js";
import { runProgram } from "./main.js";

// Whoever reads the output may go away (`| head`, a log that is cut off): the work is worth finishing all the same.
for (const stream of [process.stdout, process.stderr])
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
  });

// Node would leave with 13, which means nothing to anybody: whoever is waited for is gone, and that is a bug.
process.once("beforeExit", () => {
  process.stderr.write("sluice: this is a bug: nothing is left that could end what the program waits for\n");
  process.exit(EXIT_CODES.bug);
});

const code = await runProgram(process.argv.slice(2));
process.exit(code);
