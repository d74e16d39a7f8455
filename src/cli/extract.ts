// `sluice extract`: one worker until the run is complete.

import type { Command } from "commander";
import { EXIT_CODES } from "../base/errors.js";
import { formatBytes } from "../base/format-bytes.js";
import { plural } from "../base/plural.js";
import { HOOK_NAMES, HOOKS, type Hook } from "../model/hooks.js";
import { extract } from "../run/extract.js";
import { type Flags, resolveExtractOptions } from "./extract-options.js";
import { addLikeFlags } from "./like-flags.js";
import { formatCount, paint, wrap } from "./render.js";
import { TerminalReporter } from "./terminal-reporter.js";

const isOfBlock = (hook: Hook) => HOOKS[hook].path.startsWith("blocks.");
const list = (hooks: readonly Hook[]) => wrap(hooks.join(", "), 60).join(`\n${" ".repeat(17)}`);
const HOOKS_OF_BLOCKS = list(HOOK_NAMES.filter(isOfBlock));
const HOOKS_OF_MODEL = list(HOOK_NAMES.filter((hook) => !isOfBlock(hook)));

const EXAMPLE = `
Example:
  sluice extract --model ./Qwen2.5-0.5B --dataset prompts.jsonl \\
    --output ./run --layers all --hooks resid_post

Hook points (TransformerLens's names; docs/hooks.md says what each is):
  of the blocks  ${HOOKS_OF_BLOCKS}
  of the model   ${HOOKS_OF_MODEL}
  also           blocks.3.attn.hook_q, q.3, resid_*, blocks.*.mlp.hook_*,
                 model.layers.3.mlp, all

Environment (a flag wins): MODEL_PATH, DATASET_DIR, OUTPUT_DIR, CHECKPOINT_DIR,
BATCH_SIZE, SHARD_SIZE_GB, MAX_SEQ_LENGTH, GCS_BUCKET, GCS_PREFIX,
UPLOAD_TO_GCS, and for the worker id TPU_WORKER_ID, WORKER_ID,
JOB_COMPLETION_INDEX, SLURM_ARRAY_TASK_ID, SKYPILOT_NODE_RANK.

Exit codes: 0 done, 64 usage, 65 bad data, 70 bug, 74 store or disk,
75 pre-empted (start again), 78 configuration.`;

/** Adds the command. */
export function registerExtract(program: Command): void {
  program
    .command("extract")
    .description("run one worker until the run is complete; the same command again resumes")
    .option(
      "--model <model>",
      "a Hugging Face folder (config.json, *.safetensors, tokenizer.json), a .gguf file, or a Hub id",
    )
    .option("--adapter <folder>", "a LoRA adapter (peft) to be merged into the model: a folder, or a Hub id")
    .option(
      "--dataset <path>",
      "a .jsonl, .txt, .csv, .tsv or .parquet file, a folder or pattern of them, a folder made by sluice streams (all of these also as gs:// and s3:// addresses), or a Hub id",
    )
    .option("--output <run>", "where the run lives: a folder, gs://bucket/prefix or s3://bucket/prefix")
    .option(
      "--like <run>",
      "the same samples, rows and positions as this complete run: takes all that decides them from it",
    )
    .option("--worker-id <n>", "which stream to begin with (default: from the environment, else 0)")
    .option("--no-steal", "do this worker's stream only, and do not help with the others")
    .option("--layers <list>", "all, or a list such as 0,5-8,-1 (default: all)")
    .option("--hooks <list>", "hook points as listed below, globs, all (default: resid_post)")
    .option(
      "--positions <which>",
      "all, first, last, mean, max, 0,4,-1, 5:-5, random:N, role:assistant (default: all)",
    )
    .option("--skip-special", "leave out special tokens (by id)")
    .option("--dtype <type>", "as stored: bfloat16, float16, float32 (default: bfloat16)")
    .option(
      "--compute-dtype <type>",
      "float32, bfloat16 (--engine xla) (default: auto: the checkpoint's on an accelerator, float32 on a CPU)",
    )
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
    .option(
      "--engine <name>",
      "auto, onnx, xla, reference (default: auto: xla on a TPU or a CUDA GPU, else onnx)",
    )
    .option(
      "--weights <how>",
      "auto, packed (in float32, fastest), mapped (left in their file) (default: auto: packed where it fits)",
    )
    .option("--device <name>", "auto, cpu, cuda, tpu (default: auto)")
    .option("--plugin <file>", "the library of a PJRT plug-in (default: the first that sluice plugins lists)")
    .option(
      "--tensor-parallel <n>",
      "devices that share one model, for one too large for a device: a divisor of their number (--engine xla) (default: 1)",
    )
    .option("--seed <n>", "of variants and random positions (default: 42)")
    .option("--max-skipped <n>", "unusable records of one unit: a number or all (default: half, at least 8)")
    .option("--threads <n>", "CPU threads of the engine (default: all)")
    .option("--retry-failed", "forget failed attempts of units")
    .option("--lease-seconds <s>", "how long a silent worker is believed to live (default: 60)")
    .option(
      "--spool <folder>",
      "where shards under way lie (default: inside the run; of a bucket, a temporary folder)",
    )
    .option("--checkpoint-dir <folder>", "copy checkpoint_worker_N.json there too")
    .option("--yes", "start although the estimated size does not fit the disk")
    .option("--json", "print one JSON document at the end")
    .addHelpText("after", EXAMPLE)
    .action(async (flags: Flags) => {
      const reporter = new TerminalReporter();
      const resolved = resolveExtractOptions(await addLikeFlags(flags), process.env);
      const options = { ...resolved, command: process.argv.slice(2) };
      if (resolved.engineNote !== undefined) reporter.note(resolved.engineNote);
      try {
        const result = await extract(options, reporter);
        reporter.stop();
        const { progress, outcome, committed, units, run } = result;
        const { shards, samples, tokens, bytes, skipped } = progress;
        if (flags.json === true) {
          process.stdout.write(
            `${JSON.stringify({ outcome, run, committed, units, shards, samples, tokens, bytes, skipped, seconds: progress.seconds, load_seconds: result.loadSeconds })}\n`,
          );
        } else if (outcome === "complete" && shards === 0) {
          process.stdout.write(
            `Nothing left to do: ${describeCommitted(committed, units)} in ${options.output}\n`,
          );
        } else {
          const made = `${plural(shards, "shard")}, ${plural(samples, "sample")}, ${plural(tokens, "token")}, ${formatBytes(bytes)}${skipped > 0 ? `, ${plural(skipped, "record")} that cannot be used (sluice verify lists them)` : ""}`;
          process.stdout.write(
            `${outcome === "complete" ? paint("complete", "green") : "stopped"}: this worker made ${made}; ${describeCommitted(committed, units)} in ${options.output}\n`,
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

function describeCommitted(committed: number, units: number): string {
  return `${formatCount(committed)} of ${plural(units, "shard")} ${units === 1 ? "is" : "are"} committed`;
}
