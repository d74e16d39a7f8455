#!/usr/bin/env node
// The entry point of the program `sluice`. It leaves by process.exit: an engine's process or a thread inside a native call
// must not keep a worker that is done, or told to go.

import { runProgram } from "./main.js";

// Whoever reads the output may go away (`| head`, a log that is cut off): the work is worth finishing all the same.
for (const stream of [process.stdout, process.stderr])
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
  });

const code = await runProgram(process.argv.slice(2));
process.exit(code);
