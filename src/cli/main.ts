// The program `sluice`: parses, calls, prints. Results go to stdout, messages to stderr; an error becomes one clear
// message and the exit code of its kind, never a stack trace (that is --debug).

import { Command, CommanderError } from "commander";
import { EXIT_CODES, isSluiceError, messageOf } from "../base/errors.js";
import { printable } from "../base/printable.js";
import { hideSecrets } from "../base/redact.js";
import { explainSystemError } from "../base/system-errors.js";
import { VERSION } from "../base/version.js";
import { isLater, registerCommands } from "./commands.js";
import { notInThisVersion } from "./values.js";

/**
 * The command line, for the program and for the test that holds its help texts.
 * @param word the command that will be run: others are left out.
 */
export async function buildProgram(word?: string): Promise<Command> {
  const program = new Command("sluice")
    .description(
      "Run prompts through a language model and store every layer's activations: each sample exactly once.",
    )
    .version(VERSION, "-V, --version", "print the version")
    .option("--debug", "show stack traces")
    .showHelpAfterError("(see --help)")
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, "sluice: ")) })
    .configureHelp({ helpWidth: helpWidth() });
  await registerCommands(program, word);
  return program;
}

/** As wide as the terminal, within what reads well; 80 columns where it goes elsewhere. */
function helpWidth(): number {
  return Math.min(110, Math.max(40, process.stdout.columns || 80));
}

/** Underscored spellings (`--num_streams`) are accepted everywhere. */
export function normaliseArguments(args: readonly string[]): string[] {
  const end = args.indexOf("--");
  return args.map((arg, i) => {
    if (!arg.startsWith("--") || (end >= 0 && i >= end)) return arg;
    const [name = "", ...value] = arg.split("=");
    return [name.replaceAll("_", "-"), ...value].join("=");
  });
}

/**
 * `sluice nosuch --help` and `sluice help nosuch` become `sluice nosuch`, which is refused with what is near, and `sluice help plugins install`
 * becomes `sluice plugins install --help`: commander would show the help of what it knows.
 */
function withoutHelp(program: Command, args: readonly string[]): readonly string[] {
  const words = args[0] === "help" ? args.slice(1) : args;
  const [word = ""] = words;
  if (word === "" || word.startsWith("-") || word === "help") return args;
  if (!program.commands.some((command) => command.name() === word)) return [word];
  return words === args ? args : [...words, "--help"];
}

/** Runs one command line. @returns the exit code. */
export async function runProgram(args: readonly string[]): Promise<number> {
  try {
    if (isLater(args[0])) throw notInThisVersion(`sluice ${args[0]}`);
    const program = await buildProgram(args[0]);
    await program.parseAsync(normaliseArguments(withoutHelp(program, args)), { from: "user" });
    return typeof process.exitCode === "number" ? process.exitCode : 0;
  } catch (thrown) {
    if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? 0 : EXIT_CODES.usage;
    const error = isSluiceError(thrown) ? thrown : (explainSystemError(thrown) ?? thrown);
    const debug = args.includes("--debug");
    const text = debug && thrown instanceof Error ? (thrown.stack ?? thrown.message) : messageOf(error);
    process.stderr.write(`sluice: ${printable(hideSecrets(text))}\n`);
    if (isSluiceError(error)) return error.exitCode;
    if (!debug) process.stderr.write("sluice: this is a bug; run again with --debug for the stack trace\n");
    return EXIT_CODES.bug;
  }
}
