// `sluice verify`: the proof that every sample is there exactly once.

import type { Command } from "commander";
import { EXIT_CODES } from "../base/errors.js";
import { formatBytes } from "../base/format-bytes.js";
import { openRunForReading } from "../read/open-run.js";
import { isBroken, type VerifyReport, verifyRun } from "../read/verify.js";
import type { DatasetDifference } from "../run/compare-dataset.js";
import { describeNonFinite } from "../run/non-finite.js";
import { openStore } from "../store/stores.js";
import { formatCount, ProgressLine, paint } from "./render.js";

/** Adds the command. */
export function registerVerify(program: Command): void {
  program
    .command("verify <run>")
    .description("prove that every sample is there exactly once, and that every size and checksum holds")
    .option("--deep", "read every byte")
    .option("--dataset <path>", "compare the records with this dataset, too")
    .option("--json", "print one JSON document")
    .addHelpText(
      "after",
      "\nExample:\n  sluice verify ./run --deep --dataset prompts.jsonl\n\nExit code 65 where anything is doubled, corrupt, foreign or of another dataset, or missing of a run that says it is complete.",
    )
    .action(async (run: string, flags: { deep?: boolean; dataset?: string; json?: boolean }) => {
      const readable = await openRunForReading(openStore(run));
      let state = "verifying";
      const line = new ProgressLine(() => state);
      try {
        const report = await verifyRun(readable, {
          deep: flags.deep === true,
          ...(flags.dataset === undefined ? {} : { dataset: flags.dataset }),
          onProgress: (done) => {
            state = `${formatCount(done)} shards verified`;
          },
          onDataset: (bytes, total) => {
            state = `${formatBytes(bytes)} of ${formatBytes(total)} of the dataset read`;
          },
        });
        line.stop();
        process.stdout.write(flags.json ? `${JSON.stringify(report)}\n` : `${describeReport(report)}\n`);
        if (isBroken(report)) process.exitCode = EXIT_CODES.data;
      } finally {
        line.stop();
      }
    });
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
    `${state}: ${formatCount(r.records)} of ${formatCount(r.expected)} records are committed, each once`,
    `  ${formatCount(r.samples)} samples, ${formatCount(r.tokens)} tokens, ${formatCount(r.shards)} shards, ${formatBytes(r.bytes)}${r.deep ? ", every byte read" : ""}`,
  ];
  for (const { execution, commits } of r.executions) {
    lines.push(
      `  ${commits} commits by ${execution.engine} ${execution.version ?? ""} on ${execution.cpu ?? execution.device}, ${execution.threads ?? 1} threads`,
    );
  }
  const list = (title: string, items: readonly string[]) => {
    if (items.length > 0)
      lines.push(`  ${title}: ${items.length}`, ...items.slice(0, 10).map((item) => `    ${item}`));
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
