// `sluice doctor`: whether this machine, the model, the engine and the store are fit for a run.

import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import type { Command } from "commander";
import { printable } from "../base/printable.js";
import type { DoctorOptions } from "../doctor/doctor.js";
import type { Finding } from "../doctor/finding.js";
import { openStore } from "../store/stores.js";
import { resolveEngine } from "./engine-flags.js";
import { type Flags, PROMPTS, resolveExtractOptions, resolvePlaces } from "./extract-options.js";
import { interruptible } from "./interrupt.js";
import { paint } from "./render.js";
import { parseChoice } from "./values.js";

const BUNDLED = fileURLToPath(new URL("../../assets/model", import.meta.url));
/** Of each request to the store: a check that waits for minutes is of no use. */
const ATTEMPTS = 3;
const MARKS = {
  ok: ["ok     ", "green"],
  warning: ["warning", "yellow"],
  failure: ["FAILURE", "red"],
} as const;

/** Adds the command. */
export function registerDoctor(program: Command): void {
  program
    .command("doctor")
    .description("check this machine, the model, the engine and the store (proves its conditional writes)")
    .option("--model <model>", "a folder, a .gguf file or a Hub id (MODEL_PATH)")
    .option("--adapter <folder>", "a LoRA adapter of it")
    .option("--dataset <dataset>", "a file, folder, pattern or Hub id (DATASET_DIR)")
    .option("--output <run>", "where a run would live (OUTPUT_DIR, or GCS_BUCKET with UPLOAD_TO_GCS)")
    .option("--column <name>", "the dataset's column (default: text)")
    .option("--prompt <kind>", "text, chat or arc (default: text)")
    .option("--engine <name>", "auto, onnx, xla or reference (default: auto)")
    .option("--device <name>", "auto, cpu, cuda, tpu (default: auto)")
    .option("--plugin <file>", "the library of a PJRT plug-in (default: the first that sluice plugins lists)")
    .option("--spool <folder>", "where shards under way would lie")
    .option("--json", "print one JSON document")
    .addHelpText(
      "after",
      "\nExample:\n  sluice doctor --model ./SmolLM2-135M --dataset prompts.jsonl \\\n    --output s3://bucket/run\n\nIn the output it makes a folder doctor-<uuid>, tries there what a run does (two\nwriters race for each of 25 names), measures uploads, and removes the folder.\nExit code 0 where nothing failed; 74 where the store cannot be reached; else 78.",
    )
    .action(async (flags: Flags & { json?: boolean }) => {
      // Only here: it loads the engines, and no other command needs them in this process.
      const { examine, exitCodeOf } = await import("../doctor/doctor.js");
      const options = resolveDoctorOptions(flags, process.env);
      const findings: Finding[] = [];
      await interruptible(async (signal) => {
        for await (const finding of examine({ ...options, signal })) {
          findings.push(finding);
          if (!flags.json) process.stdout.write(`${describe(finding)}\n`);
        }
      });
      process.exitCode = exitCodeOf(findings);
      const left = (["model", "dataset", "output"] as const).filter((name) => options[name] === undefined);
      if (flags.json) {
        const counts = { ok: process.exitCode === 0, findings, not_checked: left };
        process.stdout.write(`${JSON.stringify(counts)}\n`);
      } else if (left.length > 0) {
        process.stdout.write(`not checked: ${left.map((name) => `--${name}`).join(", ")}\n`);
      }
    });
}

function resolveDoctorOptions(flags: Flags, env: NodeJS.ProcessEnv): DoctorOptions {
  const text = (name: string, variable: string): string | undefined => {
    const flag = flags[name];
    return (typeof flag === "string" ? flag : env[variable]) || undefined;
  };
  const model = text("model", "MODEL_PATH");
  const dataset = text("dataset", "DATASET_DIR");
  const { engine, plugin } = resolveEngine({
    engine: text("engine", ""),
    device: text("device", ""),
    plugin: text("plugin", ""),
  });
  const isNamed = flags.output !== undefined || env.OUTPUT_DIR || env.UPLOAD_TO_GCS;
  const { output, spool } = isNamed
    ? resolvePlaces(flags, env)
    : { output: undefined, spool: text("spool", "") };
  parseChoice("--prompt", text("prompt", "") ?? "text", PROMPTS); // Also where there is nothing yet that it would apply to.
  const isWhole = model !== undefined && dataset !== undefined;
  return {
    model,
    adapter: text("adapter", ""),
    dataset,
    output,
    spool,
    engine,
    plugin,
    threads: availableParallelism(),
    bundledModel: BUNDLED,
    extract: isWhole ? resolveExtractOptions({ ...flags, output: output ?? "." }, env) : null,
    env,
    open: (uri) => openStore(uri, { attempts: ATTEMPTS }),
  };
}

function describe({ area, state, text, fix }: Finding): string {
  const [mark, colour] = MARKS[state];
  const line = `${paint(mark, colour)} ${area}: ${printable(text)}`;
  return fix === undefined ? line : `${line}\n        ${printable(fix)}`;
}
