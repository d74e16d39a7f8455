// The registry of commands: one line each.

import type { Command } from "commander";
import { registerDoctor } from "./doctor.js";
import { registerExport } from "./export.js";
import { registerExtract } from "./extract.js";
import { registerGc } from "./gc.js";
import { registerInspect } from "./inspect.js";
import { registerPlugins } from "./plugins.js";
import { registerQuickstart } from "./quickstart.js";
import { registerStatus } from "./status.js";
import { registerStreams } from "./streams.js";
import { registerVerify } from "./verify.js";

/** Commands of the contract that this version does not have. */
const LATER = ["dashboard", "estimate", "fleet"];

/** Adds every command to the program. */
export function registerCommands(program: Command): void {
  registerQuickstart(program);
  registerExtract(program);
  registerStreams(program);
  registerStatus(program);
  registerVerify(program);
  registerInspect(program);
  registerExport(program);
  registerPlugins(program);
  registerDoctor(program);
  registerGc(program);
}

/** Whether a word is a command that comes later. */
export function isLater(word: string | undefined): boolean {
  return word !== undefined && LATER.includes(word);
}
