// `sluice extract`: one worker until the run is complete.

import type { Command } from "commander";
import { EXIT_CODES } from "../base/errors.js";
import { type ExtractReporter, extract } from "../run/extract.js";
import type { OpenedRun } from "../run/open-run.js";
import type { Progress } from "../run/progress.js";
import { type Flags, resolveExtractOptions } from "./extract-options.js";
import { formatBar, formatBytes, formatCount, formatSeconds, ProgressLine, paint } from "./render.js";

const EXAMPLE = `
Example:
  sluice extract --model ./Qwen2.5-0.5B --dataset prompts.jsonl --output ./run --layers all --hooks resid_post

Environment (a flag wins): MODEL_PATH, DATASET_DIR, OUTPUT_DIR, CHECKPOINT_DIR, BATCH_SIZE, SHARD_SIZE_GB, MAX_SEQ_LENGTH,
GCS_BUCKET, GCS_PREFIX, UPLOAD_TO_GCS, and for the worker id TPU_WORKER_ID, WORKER_ID, JOB_COMPLETION_INDEX,
SLURM_ARRAY_TASK_ID, SKYPILOT_NODE_RANK.

Exit codes: 0 done, 64 usage, 65 bad data, 70 bug, 74 store or disk, 75 pre-empted (start again), 78 configuration.`;

/** Adds the command. */
export function registerExtract(program: Command): void {
  program
    .command("extract")
    .description("run one worker until the run is complete; the same command again resumes")
    .option("--model <folder>", "a Hugging Face folder (config.json, *.safetensors, tokenizer.json)")
    .option(
      "--dataset <path>",
      "a .jsonl, .txt, .csv, .tsv or .parquet file, a folder or pattern of them, or a folder made by sluice streams",
    )
    .option("--output <run>", "the folder where the run lives")
    .option("--worker-id <n>", "which stream to begin with (default: from the environment, else 0)")
    .option("--no-steal", "do this worker's stream only, and do not help with the others")
    .option("--layers <list>", "all, or a list such as 0,5-8,-1 (default: all)")
    .option(
      "--hooks <list>",
      "resid_pre, resid_mid, resid_post, attn_out, mlp_out, full names, globs (default: resid_post)",
    )
    .option(
      "--positions <which>",
      "all, first, last, mean, max, 0,4,-1, 5:-5, random:N, role:assistant (default: all)",
    )
    .option("--skip-special", "leave out special tokens (by id)")
    .option("--dtype <type>", "as stored: bfloat16, float16, float32 (default: bfloat16)")
    .option("--compute-dtype <type>", "auto, float32 (default: auto)")
    .option("--format <name>", "safetensors or pkl.gz (default: safetensors)")
    .option("--shard-size <size>", "a target, read when the run is created (default: 1GB)")
    .option("--samples-per-shard <n>", "instead of --shard-size")
    .option("--max-seq-length <n>", "tokens of a sample at most (default: 2048)")
    .option(
      "--too-long <what>",
      "cut, cut-left, window, skip (default: cut; skip for arc and for positions from the end)",
    )
    .option("--stride <n>", "with window: tokens from one window to the next (default: --max-seq-length)")
    .option("--max-parts <n>", "with window: windows of a document at most (default: 64)")
    .option("--context-size <n>", "pack the documents of a unit into contexts of n tokens, each a sample")
    .option("--attend-across", "with --context-size: attention and positions run on across documents")
    .option("--drop-short", "with --context-size: leave out a unit's last context where it is shorter")
    .option("--max-samples <n>", "the first records of the dataset only")
    .option("--batch-tokens <n>", "tokens of a batch at most (default: 8192)")
    .option("--batch-size <n>", "samples of a batch at most")
    .option(
      "--column <name>",
      "the dataset's column: text, messages or token ids; a.b is member b of column a (default: text)",
    )
    .option("--keep-columns <a,b>", "carry columns along into sample_info")
    .option("--prompt <kind>", "text, chat (the model's own template) or arc (default: text)")
    .option("--augment <n>", "seeded variants of each ARC task, the task included (default: 1)")
    .option("--bos <rule>", "tokenizer, always, never (default: tokenizer)")
    .option("--engine <name>", "auto, onnx, reference (default: auto)")
    .option("--device <name>", "auto or cpu (default: auto)")
    .option("--seed <n>", "of variants and random positions (default: 42)")
    .option("--max-skipped <n>", "unusable records of one unit: a number or all (default: half, at least 8)")
    .option("--threads <n>", "CPU threads of the engine (default: all)")
    .option("--retry-failed", "forget failed attempts of units")
    .option("--lease-seconds <s>", "how long a silent worker is believed to live (default: 60)")
    .option("--spool <folder>", "where shards under way lie (default: inside the run)")
    .option("--checkpoint-dir <folder>", "copy checkpoint_worker_N.json there too")
    .option("--json", "print one JSON document at the end")
    .addHelpText("after", EXAMPLE)
    .action(async (flags: Flags) => {
      const reporter = new TerminalReporter();
      const options = resolveExtractOptions(flags, process.env);
      try {
        const result = await extract(options, reporter);
        reporter.stop();
        const { progress, outcome, committed, units, run } = result;
        const { shards, samples, tokens, bytes } = progress;
        if (flags.json === true) {
          process.stdout.write(
            `${JSON.stringify({ outcome, run, committed, units, shards, samples, tokens, bytes, seconds: progress.seconds })}\n`,
          );
        } else if (outcome === "complete" && shards === 0) {
          process.stdout.write(
            `Nothing left to do: ${committed} of ${units} shards are committed in ${options.output}\n`,
          );
        } else {
          const made = `${formatCount(shards)} shards, ${formatCount(samples)} samples, ${formatCount(tokens)} tokens, ${formatBytes(bytes)}`;
          process.stdout.write(
            `${outcome === "complete" ? paint("complete", "green") : "stopped"}: this worker made ${made}; ${committed} of ${units} shards are committed in ${options.output}\n`,
          );
        }
        if (outcome === "preempted") {
          process.stderr.write(
            "sluice: stopped before the run was complete; start the same command again to go on\n",
          );
          process.exitCode = EXIT_CODES.preempted;
        }
      } finally {
        reporter.stop();
      }
    });
}

/** Progress on stderr. */
class TerminalReporter implements ExtractReporter {
  #line: ProgressLine | undefined;

  note(message: string): void {
    this.#print(`sluice: ${message}`);
  }

  warn(message: string): void {
    this.#print(`sluice: ${paint("warning", "yellow", process.stderr)}: ${message}`);
  }

  started(progress: Progress, opened: OpenedRun, committed: () => number): void {
    const total = opened.tables.reduce((sum, table) => sum + table.units.length, 0);
    const atStart = committed();
    const what = opened.isNew ? "created" : atStart > 0 ? "resuming" : "joined";
    this.note(`${what} run ${opened.run.run.slice(0, 12)}: ${atStart} of ${total} shards committed`);
    this.#line = new ProgressLine(() => describeProgress(progress, committed(), atStart, total));
  }

  stop(): void {
    this.#line?.stop();
    this.#line = undefined;
  }

  #print(message: string): void {
    if (this.#line) this.#line.print(message);
    else process.stderr.write(`${message}\n`);
  }
}

function describeProgress(p: Progress, committed: number, atStart: number, total: number): string {
  const { seconds } = p;
  const left =
    committed > atStart ? ((total - committed) * seconds) / (committed - atStart) : Number.POSITIVE_INFINITY;
  const padding = p.tokensComputed === 0 ? 0 : 1 - p.tokens / p.tokensComputed;
  const doing = p.unit ?? (p.isWaiting ? "waiting for other workers" : "");
  return [
    `${formatBar(total === 0 ? 1 : committed / total)} shard ${committed}/${total}`,
    `${formatCount(p.samples)} samples`,
    `${formatCount(p.tokensDone / seconds)} tokens/s`,
    `${(p.bytes / 1e6 / seconds).toFixed(1)} MB/s`,
    `padding ${(padding * 100).toFixed(1)} %`,
    `left ${formatSeconds(left)}`,
    doing,
  ].join("  ");
}
