// `sluice streams`: split a dataset into N streams.

import { fileURLToPath } from "node:url";
import type { Command } from "commander";
import { realClock } from "../base/clock.js";
import { SluiceError } from "../base/errors.js";
import { formatBytes } from "../base/format-bytes.js";
import { plural } from "../base/plural.js";
import { printable } from "../base/printable.js";
import { describeSilence, listenForSilence } from "../base/silence.js";
import { splitDataset } from "../data/split.js";
import type { HubProgress } from "../hub/snapshot.js";
import type { Flags } from "./extract-options.js";
import { interruptible } from "./interrupt.js";
import { ProgressLine } from "./render.js";
import { localFolder, parseNames, parseWhole, refuseEmpty } from "./values.js";

/** The ARC tasks that ship with the project. */
export const BUNDLED_TASKS = fileURLToPath(new URL("../../assets/arc/tasks.jsonl.gz", import.meta.url));

/** Adds the command. */
export function registerStreams(program: Command): void {
  program
    .command("streams")
    .description("split a dataset into N streams, one for each worker; record i goes to stream i mod N")
    .option(
      "--dataset <path>",
      "a .jsonl, .txt, .csv or .tsv file, also with .gz or .zst; a .parquet file; a folder or pattern of them; a Hub id; `arc` for the bundled ARC tasks",
    )
    .option("--num-streams <n>", "how many (default: 4)")
    .option("--output-dir <folder>", "where to write them")
    .option("--column <a,b>", "keep these columns (and id, task_id) only")
    .option("--max-samples <n>", "the first records only")
    .option("--shuffle <seed>", "shuffle the records first (they are held in memory)")
    .option("--json", "print streams.json")
    .addHelpText(
      "after",
      "\nExample:\n  sluice streams --dataset prompts.jsonl.gz --num-streams 32 \\\n    --output-dir streams",
    )
    .action(async (flags: Flags) => {
      const { dataset, outputDir } = flags;
      if (typeof dataset !== "string" || typeof outputDir !== "string") {
        throw new SluiceError("usage", "sluice streams needs --dataset and --output-dir", {
          fix: "See sluice streams --help.",
        });
      }
      refuseEmpty("--dataset", dataset);
      const folder = localFolder("--output-dir", outputDir);
      let done = 0;
      let downloaded: HubProgress | undefined;
      const line = new ProgressLine(() =>
        done === 0 && downloaded
          ? `${formatBytes(downloaded.done)} of ${formatBytes(downloaded.total)} downloaded`
          : plural(done, "record"),
      );
      const silence = listenForSilence(realClock, (seconds) =>
        line.print(printable(`sluice: warning: ${describeSilence(dataset, seconds)}`)),
      );
      try {
        const split = {
          dataset: dataset === "arc" ? BUNDLED_TASKS : dataset,
          streams: parseWhole("--num-streams", String(flags.numStreams ?? 4), 1, 100_000),
          folder,
          maxSamples:
            flags.maxSamples === undefined
              ? undefined
              : parseWhole("--max-samples", String(flags.maxSamples), 1),
          columns: typeof flags.column === "string" ? parseNames("--column", flags.column) : undefined,
          shuffleSeed:
            flags.shuffle === undefined ? undefined : parseWhole("--shuffle", String(flags.shuffle)),
          onProgress: (records: number) => {
            done = records;
            silence.heard();
          },
          download: {
            onProgress: (progress: HubProgress) => {
              downloaded = progress;
              silence.heard();
            },
            warn: (message: string) => line.print(`sluice: ${message}`),
          },
        };
        const summary = await interruptible((signal) =>
          splitDataset({ ...split, signal, download: { ...split.download, signal } }),
        );
        line.stop();
        const text = `${plural(summary.records, "record")} in ${plural(summary.num_streams, "stream")} in ${outputDir}`;
        process.stdout.write(flags.json === true ? `${JSON.stringify(summary)}\n` : `${text}\n`);
      } finally {
        silence.end();
        line.stop();
      }
    });
}
