// The registry of commands: one line each. A program that runs one command loads that one's modules only.

import type { Command } from "commander";

/** Adds a command to the program. */
type Register = (program: Command) => void;

/** In the order of the help. */
const COMMANDS: Readonly<Record<string, () => Promise<Register>>> = {
  quickstart: async () => (await import("./quickstart.js")).registerQuickstart,
  extract: async () => (await import("./extract.js")).registerExtract,
  streams: async () => (await import("./streams.js")).registerStreams,
  status: async () => (await import("./status.js")).registerStatus,
  verify: async () => (await import("./verify.js")).registerVerify,
  inspect: async () => (await import("./inspect.js")).registerInspect,
  export: async () => (await import("./export.js")).registerExport,
  plugins: async () => (await import("./plugins.js")).registerPlugins,
  doctor: async () => (await import("./doctor.js")).registerDoctor,
  gc: async () => (await import("./gc.js")).registerGc,
};

/** Commands of the contract that this version does not have. */
const LATER = ["dashboard", "estimate", "fleet"];

/** Adds the command that the first word names to the program; every command where it names none. */
export async function registerCommands(program: Command, word: string | undefined): Promise<void> {
  const named = word !== undefined && Object.hasOwn(COMMANDS, word) ? COMMANDS[word] : undefined;
  for (const load of named ? [named] : Object.values(COMMANDS)) (await load())(program);
}

/** Whether a word is a command that comes later. */
export function isLater(word: string | undefined): boolean {
  return word !== undefined && LATER.includes(word);
}
