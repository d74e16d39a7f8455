// `sluice status`: how far a run is, and who works on it.

import type { Command } from "commander";
import { formatBytes } from "../base/format-bytes.js";
import { plural } from "../base/plural.js";
import { openRunForReading } from "../read/open-run.js";
import { type RunStatus, readStatus } from "../read/status.js";
import { openStore } from "./open-store.js";
import { formatCount, formatSeconds, formatTable } from "./render.js";

const MESSAGE_WIDTH = 160;

/** Adds the command. */
export function registerStatus(program: Command): void {
  program
    .command("status <run>")
    .description("workers, progress, rate and time left")
    .option("--json", "print one JSON document")
    .addHelpText("after", "\nExample:\n  sluice status ./run")
    .action(async (run: string, flags: { json?: boolean }) => {
      const status = await readStatus(await openRunForReading(openStore(run)), (workers, seconds) => {
        process.stderr.write(
          `sluice: listening ${Math.ceil(seconds)} s for ${plural(workers, "worker")} that ${workers === 1 ? "seems" : "seem"} silent\n`,
        );
      });
      process.stdout.write(flags.json ? `${JSON.stringify(status)}\n` : `${describe(status)}\n`);
    });
}

function describe(s: RunStatus): string {
  const left = s.seconds_left === null ? "nobody is running" : `left ${formatSeconds(s.seconds_left)}`;
  const head = `run ${s.run.slice(0, 12)}: ${formatCount(s.shards)} of ${plural(s.shards_total, "shard")}, ${formatCount(s.records)} of ${plural(s.records_total, "record")}, ${formatBytes(s.bytes)}; ${s.complete ? "complete" : left}`;
  if (s.workers.length === 0) return head;
  const rows = s.workers.map((w) => [
    String(w.worker_id),
    `${w.host}:${w.pid}`,
    w.lost ?? w.status,
    w.unit ?? "",
    w.shards,
    w.samples,
    w.seconds > 0 ? Math.round(w.tokens / w.seconds) : 0,
    `${w.at.slice(0, 19)}Z`,
    oneLine(w.message ?? ""),
  ]);
  return `${head}\n\n${formatTable(["worker", "process", "status", "unit", "shards", "samples", "tokens/s", "last heard", "message"], rows)}`;
}

/** A cause of several lines would tear the table apart; `--json` has all of it. */
function oneLine(message: string): string {
  const text = message.replace(/\s+/g, " ");
  return text.length > MESSAGE_WIDTH ? `${text.slice(0, MESSAGE_WIDTH - 1)}…` : text;
}
