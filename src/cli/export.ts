// `sluice export`: a complete run as plain files, one a tensor.

import type { Command } from "commander";
import { exportRun } from "../read/export.js";
import { openRunForReading } from "../read/open-run.js";
import { interruptible } from "./interrupt.js";
import { openStore } from "./open-store.js";
import { chooseStoredTaps } from "./stored-taps.js";
import { localFolder, parseChoice } from "./values.js";

interface ExportFlags {
  readonly to?: string;
  readonly hooks?: string;
  readonly layers?: string;
  readonly output?: string;
  readonly json?: boolean;
}

/** Adds the command. */
export function registerExport(program: Command): void {
  program
    .command("export <run>")
    .description("aggregate a complete run: one file a tensor, all samples one after the other")
    .option("--to <format>", "safetensors or npy (default: safetensors)")
    .option("--hooks <list>", "the run's hook points, as extract takes them (default: all)")
    .option("--layers <list>", "all, or a list such as 0,5-8,-1 of the run's layers (default: all)")
    .option("--output <folder>", "where the files go (default: RUN/export; needed for a run in a bucket)")
    .option("--json", "print the list of files as JSON")
    .addHelpText(
      "after",
      "\nExample:\n  sluice export ./run --to npy --layers -1 --output ./last-layer\n\nFiles that are there already are kept: the same command goes on where it\nstopped.",
    )
    .action(async (run: string, flags: ExportFlags) => {
      const readable = await openRunForReading(openStore(run));
      const chosen = chooseStoredTaps(flags.hooks, flags.layers, readable.run.identity.taps);
      const folder = localFolder("--output", flags.output ?? `${run}/export`);
      const exporting = (signal: AbortSignal) =>
        exportRun(readable, {
          signal,
          to: parseChoice("--to", flags.to ?? "safetensors", ["safetensors", "npy"], ["parquet", "arrow"]),
          folder,
          taps: chosen.map(({ name }) => name),
          onFile: (file, isNew) => {
            if (!flags.json) process.stdout.write(`${isNew ? "wrote" : "kept "} ${file}\n`);
          },
        });
      const files = await interruptible(exporting);
      if (flags.json) process.stdout.write(`${JSON.stringify({ files })}\n`);
    });
}
