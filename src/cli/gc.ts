// `sluice gc`: removes what no commit names, of a complete run.

import type { Command } from "commander";
import { formatBytes } from "../base/format-bytes.js";
import { plural } from "../base/plural.js";
import { printable } from "../base/printable.js";
import { collectGarbage, type Garbage, type GarbageKind, type GcReport } from "../read/gc.js";
import { interruptible } from "./interrupt.js";
import { openStore } from "./open-store.js";
import { formatCount, ProgressLine } from "./render.js";

const KINDS: Readonly<Record<GarbageKind, string>> = {
  data: "data of no commit",
  note: "note of commits for other workers",
  lease: "lease",
  failure: "note of a failed attempt",
  heartbeat: "heartbeat of a worker that has ended",
  temporary: "temporary file of a dead process",
  upload: "unfinished upload",
};

/** The flags as commander gives them. */
interface GcFlags {
  readonly dryRun?: boolean;
  readonly json?: boolean;
}

/** Adds the command. */
export function registerGc(program: Command): void {
  program
    .command("gc <run>")
    .description("remove what no commit names, of a complete run")
    .option("--dry-run", "only say what would be removed")
    .option("--json", "print one JSON document")
    .addHelpText(
      "after",
      "\nExample:\n  sluice gc ./run --dry-run\n\nRemoves data that no commit names (attempts that lost a race), notes that\nworkers wrote for each other, leases, heartbeats of workers that have ended,\ntemporary files of processes that are dead, and unfinished uploads. Refuses a\nrun that is not complete (65). What belongs to another run, or has a name that\nno run gives, is left alone and listed.",
    )
    .action(async (run: string, flags: GcFlags) => {
      let state = "";
      const line = new ProgressLine(() => state);
      const print = (text: string) => {
        if (!flags.json) process.stdout.write(`${printable(text)}\n`);
      };
      try {
        const report = await interruptible((signal) =>
          collectGarbage(openStore(run), {
            dryRun: flags.dryRun === true,
            signal,
            onProgress: (what, done, total) => {
              const things = what === "read" ? "commits read" : "objects removed";
              state = `${formatCount(done)} of ${formatCount(total)} ${things}`;
            },
            onRemoved: (garbage) => print(`removed ${describe(garbage)}`),
            look: {
              onWait: (workers, seconds) => {
                state = `listening ${Math.ceil(seconds)} s for ${plural(workers, "worker")} that ${workers === 1 ? "seems" : "seem"} silent`;
              },
            },
          }),
        );
        line.stop();
        if (flags.json) process.stdout.write(`${JSON.stringify(report)}\n`);
        else print(summarise(report));
      } finally {
        line.stop();
      }
    });
}

function describe({ name, size, kind }: Garbage): string {
  return `${name} (${KINDS[kind]}${size === 0 ? "" : `, ${formatBytes(size)}`})`;
}

function summarise(report: GcReport): string {
  const { removed, kept, bytes } = report;
  const lines = report.dry_run ? removed.map((garbage) => `would remove ${describe(garbage)}`) : [];
  lines.push(...kept.map(({ name, reason }) => `left alone: ${name} (${reason})`));
  if (removed.length === 0) lines.push("nothing to remove");
  else {
    const what = report.dry_run ? "would be removed" : "removed";
    lines.push(`${plural(removed.length, "object")} ${what}, ${formatBytes(bytes)} in all`);
  }
  return lines.join("\n");
}
