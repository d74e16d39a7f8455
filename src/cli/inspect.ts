// `sluice inspect`: what is inside a run, or one of its shards.

import { stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import type { Command } from "commander";
import { SluiceError } from "../base/errors.js";
import { formatBytes } from "../base/format-bytes.js";
import { type Inspection, inspectCommits } from "../read/inspect.js";
import { openRunForReading, type ReadableRun } from "../read/open-run.js";
import type { Commit } from "../run/commit.js";
import { openStore } from "../store/stores.js";
import { formatCount, formatTable } from "./render.js";
import { parseWhole } from "./values.js";

/** Adds the command. */
export function registerInspect(program: Command): void {
  program
    .command("inspect <run-or-shard>")
    .description("tensors, samples with their text, statistics, NaN and Inf")
    .option("--samples <n>", "how many samples to show (default: 2)")
    .option("--json", "print one JSON document")
    .addHelpText(
      "after",
      "\nExample:\n  sluice inspect ./run\n  sluice inspect ./run/tpu_0/shard_0001.safetensors",
    )
    .action(async (target: string, flags: { samples?: string; json?: boolean }) => {
      const shard = /(?:^|\/)tpu_(\d+)\/shard_(\d+)\.[a-z.]+$/.exec(target);
      if (!shard && (await stat(target).catch(() => null))?.isFile()) {
        throw new SluiceError("config", `${target} is no shard of a run`, {
          expected: "RUN, or RUN/tpu_0/shard_0001.safetensors",
          fix: "A shard is read with its run: name it where it lies.",
        });
      }
      const readable = await openRunForReading(openStore(shard ? dirname(dirname(resolve(target))) : target));
      const { log } = readable;
      const commits = shard ? readOne(readable, Number(shard[1]), Number(shard[2]) - 1) : log.commits();
      if (!shard && log.committed === 0)
        throw new SluiceError("data", `the run at ${target} has no commit yet`, {
          fix: "Let extract make one.",
        });
      const inspection = await inspectCommits(
        readable,
        commits,
        parseWhole("--samples", flags.samples ?? "2"),
      );
      process.stdout.write(flags.json ? `${JSON.stringify(inspection)}\n` : `${describe(inspection)}\n`);
    });
}

async function* readOne({ log, store }: ReadableRun, stream: number, index: number): AsyncGenerator<Commit> {
  const exists = index >= 0 && index < (log.unitCounts[stream] ?? 0);
  const commit = exists ? await log.read(log.unitAt(stream, index)) : null;
  if (commit) yield commit;
  else
    throw new SluiceError("data", `shard ${index + 1} of stream ${stream} has no commit in ${store.uri}`, {
      fix: "Let extract make one.",
    });
}

function describe(i: Inspection): string {
  const short = (n: number) => (n === 0 ? "0" : n.toPrecision(4));
  const statistics = Object.entries(i.statistics).map(([name, s]) => [
    name,
    s.rows,
    short(s.mean),
    short(Math.sqrt(s.variance)),
    short(s.mean_norm),
    short(s.max_abs),
    s.nan,
    s.inf,
  ]);
  const samples = i.first.map((sample) => {
    const text =
      sample.text === null
        ? ""
        : `\n${sample.text.slice(0, 400).replace(/^/gm, "    ")}${sample.text.length > 400 ? " ..." : ""}`;
    return `  record ${sample.record}, part ${sample.part}, ${sample.tokens} tokens, ${JSON.stringify(sample.info)}${text}`;
  });
  return [
    `run ${i.run.slice(0, 12)}: ${formatCount(i.shards)} shards, ${formatCount(i.samples)} samples, ${formatCount(i.rows)} rows, ${formatCount(i.tokens)} tokens, ${formatBytes(i.bytes)}`,
    "",
    formatTable(
      ["tensor (first shard)", "dtype", "shape"],
      i.tensors.map((t) => [t.name, t.dtype, `[${t.shape.join(", ")}]`]),
    ),
    "",
    formatTable(["statistics", "rows", "mean", "std", "mean norm", "max |x|", "NaN", "Inf"], statistics),
    ...(samples.length > 0 ? ["", "first samples", ...samples] : []),
  ].join("\n");
}
