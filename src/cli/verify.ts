// `sluice verify`: the proof that every sample is there exactly once.

import type { Command } from "commander";
import { EXIT_CODES, SluiceError } from "../base/errors.js";
import { formatBytes } from "../base/format-bytes.js";
import { plural } from "../base/plural.js";
import { printable } from "../base/printable.js";
import { openRunForReading } from "../read/open-run.js";
import { isBroken, type VerifyReport, verifyRun } from "../read/verify.js";
import type { DatasetDifference } from "../run/compare-dataset.js";
import { describeNonFinite } from "../run/non-finite.js";
import { compareWithTransformers, describeAgainstHf } from "./against-hf.js";
import { interruptible } from "./interrupt.js";
import { openStore } from "./open-store.js";
import { formatCount, ProgressLine, paint } from "./render.js";
import { parseWhole } from "./values.js";

/** The flags as commander gives them. */
interface VerifyFlags {
  readonly deep?: boolean;
  readonly dataset?: string;
  readonly againstHf?: string;
  readonly model?: string;
  readonly adapter?: string;
  readonly python?: string;
  readonly seed?: string;
  readonly json?: boolean;
}

/** Adds the command. */
export function registerVerify(program: Command): void {
  program
    .command("verify <run>")
    .description("prove that every sample is there exactly once, and that every size and checksum holds")
    .option("--deep", "read every byte")
    .option("--dataset <path>", "compare the records with this dataset, too")
    .option("--against-hf <n>", "compute n random samples again with transformers (needs Python and PyTorch)")
    .option(
      "--model <model>",
      "for --against-hf: the run's model, where it is no longer where the run found it",
    )
    .option("--adapter <folder>", "for --against-hf: the run's LoRA adapter")
    .option("--python <path>", "for --against-hf: a Python with torch and transformers (default: python3)")
    .option("--seed <n>", "for --against-hf: which samples are drawn (default: 42)")
    .option("--json", "print one JSON document")
    .addHelpText(
      "after",
      "\nExample:\n  sluice verify ./run --deep --dataset prompts.jsonl\n  sluice verify ./run --against-hf 8 --python ~/venv/bin/python\n\nExit code 65 where anything is doubled, corrupt, foreign or of another dataset,\nfurther from transformers than the stored type's rounding allows, or missing of\na run that says it is complete. A run under way is no failure: exit code 0.",
    )
    .action(async (run: string, flags: VerifyFlags) => {
      refuseLoneFlags(flags);
      const samples = flags.againstHf === undefined ? 0 : parseWhole("--against-hf", flags.againstHf, 1);
      const seed = parseWhole("--seed", flags.seed ?? "42");
      const readable = await openRunForReading(openStore(run));
      let state = "verifying";
      const line = new ProgressLine(() => state);
      try {
        const report = await interruptible((signal) =>
          verifyRun(readable, {
            deep: flags.deep === true,
            signal,
            ...(flags.dataset === undefined ? {} : { dataset: flags.dataset }),
            onProgress: (done, units, bytes) => {
              const read = flags.deep ? `, ${formatBytes(bytes)} read` : "";
              state = `${formatCount(done)} of ${plural(units, "shard")} verified${read}`;
            },
            onDataset: (bytes, total) => {
              state = `${formatBytes(bytes)} of ${formatBytes(total)} of the dataset read`;
            },
          }),
        );
        // What is damaged is reported as that first.
        const compared =
          samples === 0 || isBroken(report)
            ? null
            : await compareWithTransformers(readable, {
                samples,
                seed,
                model: flags.model ?? (process.env.MODEL_PATH || undefined),
                adapter: flags.adapter,
                python: flags.python ?? "python3",
                onState: (text) => {
                  state = text;
                },
              });
        line.stop();
        const whole = flags.againstHf === undefined ? report : { ...report, against_hf: compared };
        process.stdout.write(flags.json ? `${JSON.stringify(whole)}\n` : `${describeReport(report)}\n`);
        if (compared && !flags.json) process.stdout.write(`${describeAgainstHf(compared)}\n`);
        if (isBroken(report) || compared?.ok === false) process.exitCode = EXIT_CODES.data;
      } finally {
        line.stop();
      }
    });
}

/** Flags that say how to compare, and nothing is to be compared. */
function refuseLoneFlags(flags: VerifyFlags): void {
  const lone = (["model", "adapter", "python", "seed"] as const).find((name) => flags[name] !== undefined);
  if (lone === undefined || flags.againstHf !== undefined) return;
  throw new SluiceError("usage", `--${lone} needs --against-hf`, { fix: "See sluice verify --help." });
}

function describeDifference({ unit, stream, records, reason }: DatasetDifference): string {
  const where = stream === null ? "" : unit === null ? `stream ${stream}: ` : `${unit}, `;
  const which = records && unit ? `records ${records[0]} to ${records[1] - 1} of stream ${stream}: ` : "";
  return `${where}${which}${reason}`;
}

/** The report for people. */
export function describeReport(r: VerifyReport): string {
  const state = isBroken(r) ? paint("BROKEN", "red") : r.complete ? paint("complete", "green") : "under way";
  const lines = [
    `${state}: ${formatCount(r.records)} of ${plural(r.expected, "record")} ${r.expected === 1 ? "is" : "are"} committed, each once`,
    `  ${plural(r.samples, "sample")}, ${plural(r.tokens, "token")}, ${plural(r.shards, "shard")}, ${formatBytes(r.bytes)}${r.deep ? ", every byte read" : ""}`,
  ];
  for (const { execution, commits } of r.executions) {
    lines.push(
      `  ${plural(commits, "commit")} by ${execution.engine} ${execution.version ?? ""} on ${execution.cpu ?? execution.device}, ${plural(Number(execution.threads ?? 1), "thread")}`,
    );
  }
  const list = (title: string, items: readonly string[]) => {
    if (items.length > 0)
      lines.push(
        `  ${title}: ${items.length}`,
        ...items.slice(0, 10).map((item) => `    ${printable(item)}`),
      );
  };
  if (r.dataset?.differences.length === 0) lines.push(`  the records are those of ${r.dataset.path}`);
  list(`differs from ${r.dataset?.path}`, (r.dataset?.differences ?? []).map(describeDifference));
  list("missing shards", r.missing);
  list("doubled samples", r.duplicated);
  list(
    "corrupt",
    r.corrupt.map(({ name, reason }) => `${name}: ${reason}`),
  );
  list(
    "tensors with NaN or infinite values",
    Object.entries(r.non_finite).map(([name, entry]) => `${name}: ${describeNonFinite(entry)}`),
  );
  list(
    "skipped records",
    r.skipped.map(({ id, reason }) => `${id}: ${reason}`),
  );
  list(
    "left out by rule",
    r.left_out.map(({ id, reason }) => `${id}: ${reason}`),
  );
  return lines.join("\n");
}
