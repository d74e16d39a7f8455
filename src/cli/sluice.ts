#!/usr/bin/env node
// The entry point of the program `sluice`. It leaves by process.exit: an engine's process or a thread inside a native call
// must not keep a worker that is done, or told to go.

import { runProgram } from "./main.js";

const code = await runProgram(process.argv.slice(2));
process.exit(code);
