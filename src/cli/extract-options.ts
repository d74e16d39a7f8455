// The flags of `sluice extract` and the environment variables of existing launch scripts, resolved to one plain object.
// A flag wins over the environment, the environment over the default.

import { availableParallelism } from "node:os";
import { SluiceError } from "../base/errors.js";
import type { ExtractOptions } from "../run/extract-options.js";
import { type EngineSettings, resolveEngine } from "./engine-flags.js";
import {
  parseBytes,
  parseChoice,
  parseNames,
  parsePositive,
  parseSwitch,
  parseWhole,
  refuseEmpty,
} from "./values.js";

/** The flags as commander gives them: strings and booleans, by camel-cased name. */
export type Flags = Readonly<Record<string, string | boolean | undefined>>;
type Environment = Readonly<Record<string, string | undefined>>;

/** Values of `--prompt`. */
export const PROMPTS = ["text", "chat", "arc"] as const;
const WORKER_ID_VARIABLES = [
  "TPU_WORKER_ID",
  "WORKER_ID",
  "JOB_COMPLETION_INDEX",
  "SLURM_ARRAY_TASK_ID",
  "SKYPILOT_NODE_RANK",
] as const;

/** The worker's id: the flag, else the first variable that is set, else 0. @throws SluiceError `usage`. */
export function resolveWorkerId(flag: string | undefined, env: Environment): number {
  if (flag !== undefined) return parseWhole("--worker-id", flag, 0, 1_000_000);
  const name = WORKER_ID_VARIABLES.find((variable) => env[variable] !== undefined && env[variable] !== "");
  return name === undefined ? 0 : parseWhole(name, env[name] ?? "", 0, 1_000_000);
}

/**
 * The options of one worker.
 * @throws SluiceError `usage` for a value that cannot be read, `config` where something needed is missing or is not in this version.
 */
export function resolveExtractOptions(flags: Flags, env: Environment): ExtractOptions & EngineSettings {
  const text = (name: string, variable?: string): string | undefined => {
    const flag = flags[name];
    if (typeof flag === "string" && flag !== "") return flag;
    if (flag === "") refuseEmpty(nameOfFlag(name), flag);
    const value = variable === undefined ? undefined : env[variable];
    return value === "" ? undefined : value;
  };
  const whole = (flag: string, value: string | undefined, min = 1, max?: number) =>
    value === undefined ? undefined : parseWhole(flag, value, min, max);

  const shardSize = text("shardSize") ?? sizeInGigabytes(env.SHARD_SIZE_GB);
  const samplesPerShard = whole("--samples-per-shard", text("samplesPerShard"), 1, 65_536);
  if (flags.shardSize !== undefined && samplesPerShard !== undefined) {
    throw new SluiceError("usage", "--shard-size and --samples-per-shard exclude each other", {
      fix: "Give one of them.",
    });
  }
  if (flags.batchTokens !== undefined && flags.batchSize !== undefined) {
    throw new SluiceError("usage", "--batch-tokens and --batch-size exclude each other", {
      fix: "Give one of them.",
    });
  }
  const prompt = parseChoice("--prompt", text("prompt") ?? "text", PROMPTS);
  const augment = whole("--augment", text("augment"), 1, 1024) ?? 1;
  if (augment > 1 && prompt !== "arc") {
    throw new SluiceError("usage", "--augment makes variants of ARC tasks", {
      found: `--prompt ${prompt}`,
      expected: "--prompt arc",
    });
  }
  const positions = text("positions") ?? "all";
  if (positions.trim().startsWith("role:") && prompt !== "chat") {
    throw new SluiceError("usage", "--positions role: selects the words of a dialogue's role", {
      found: `--prompt ${prompt}`,
      expected: "--prompt chat",
    });
  }
  const bos = parseChoice("--bos", text("bos") ?? "tokenizer", ["tokenizer", "always", "never"]);
  if (bos !== "tokenizer" && prompt === "chat") {
    throw new SluiceError("usage", "--bos has no say where a chat template writes the text, BOS included", {
      found: `--bos ${bos} with --prompt chat`,
      fix: "Leave out --bos.",
    });
  }
  const chosen = text("tooLong");
  const tooLong = parseChoice("--too-long", chosen ?? defaultTooLong(prompt, positions), [
    "cut",
    "cut-left",
    "window",
    "skip",
  ]);
  if (tooLong === "cut" && countsFromEnd(positions)) {
    throw new SluiceError("usage", "--too-long cut would move the positions that are counted from the end", {
      found: `--positions ${positions}`,
      expected: "--too-long skip or cut-left",
    });
  }
  const contextSize = whole("--context-size", text("contextSize"), 1, 1_048_576);
  refuseLongDocumentFlags(flags, { prompt, positions, tooLong, contextSize });
  return {
    model: required(
      "--model",
      text("model", "MODEL_PATH"),
      "a Hugging Face folder with config.json and *.safetensors, a .gguf file, or a Hub id",
    ),
    adapter: text("adapter"),
    dataset: required(
      "--dataset",
      text("dataset", "DATASET_DIR"),
      "a .jsonl, .txt, .csv, .tsv or .parquet file, a folder or pattern of them, a folder made by `sluice streams`, or a Hub id",
    ),
    ...resolvePlaces(flags, env),
    like: text("like"),
    workerId: resolveWorkerId(text("workerId"), env),
    steal: flags.steal !== false,
    layers: text("layers") ?? "all",
    hooks: text("hooks") ?? "resid_post",
    positions,
    skipSpecial: flags.skipSpecial === true,
    dtype: parseChoice("--dtype", text("dtype") ?? "bfloat16", ["bfloat16", "float16", "float32"]),
    format: parseChoice("--format", text("format") ?? "safetensors", ["safetensors", "pkl.gz"]),
    shardBytes:
      shardSize === undefined || samplesPerShard !== undefined
        ? undefined
        : parseBytes("--shard-size", shardSize),
    samplesPerShard,
    maxSeqLength: whole("--max-seq-length", text("maxSeqLength", "MAX_SEQ_LENGTH"), 1, 1_048_576) ?? 2048,
    tooLong,
    stride: whole("--stride", text("stride")),
    maxParts: whole("--max-parts", text("maxParts"), 1, 1_000_000) ?? 64,
    contextSize,
    attendAcross: flags.attendAcross === true,
    dropShort: flags.dropShort === true,
    maxSamples: whole("--max-samples", text("maxSamples")),
    batchTokens: whole("--batch-tokens", text("batchTokens")) ?? 8192,
    batchSize:
      flags.batchTokens === undefined ? whole("--batch-size", text("batchSize", "BATCH_SIZE")) : undefined,
    column: text("column") ?? "text",
    keepColumns: parseNames("--keep-columns", text("keepColumns")),
    prompt,
    augment,
    bos,
    ...resolveEngine({
      engine: text("engine"),
      device: text("device"),
      plugin: text("plugin"),
      computeDType: text("computeDtype"),
      weights: text("weights"),
      tensorParallel: text("tensorParallel"),
    }),
    seed: whole("--seed", text("seed"), 0, 0xffffffff) ?? 42,
    maxSkipped: resolveMaxSkipped(text("maxSkipped")),
    threads: whole("--threads", text("threads"), 1, 1024) ?? availableParallelism(),
    retryFailed: flags.retryFailed === true,
    yes: flags.yes === true,
    command: [],
    leaseSeconds: parsePositive("--lease-seconds", text("leaseSeconds") ?? "60"),
    checkpointDir: text("checkpointDir", "CHECKPOINT_DIR"),
  };
}

/** Flags of long documents that mean nothing without another one, or exclude each other. */
function refuseLongDocumentFlags(
  flags: Flags,
  chosen: { prompt: string; positions: string; tooLong: string; contextSize: number | undefined },
): void {
  const { prompt, positions, tooLong, contextSize } = chosen;
  const refuse = (found: string, needs: string) => {
    throw new SluiceError("usage", `${found} ${needs}`, { fix: "See sluice extract --help." });
  };
  for (const [name, flag] of [
    ["stride", "--stride"],
    ["maxParts", "--max-parts"],
  ] as const)
    if (flags[name] !== undefined && tooLong !== "window") refuse(flag, "needs --too-long window");
  for (const [name, flag] of [
    ["attendAcross", "--attend-across"],
    ["dropShort", "--drop-short"],
  ] as const)
    if (flags[name] === true && contextSize === undefined) refuse(flag, "needs --context-size");
  if (contextSize === undefined) return;
  for (const [name, flag] of [
    ["tooLong", "--too-long"],
    ["maxSeqLength", "--max-seq-length"],
  ] as const)
    if (flags[name] !== undefined)
      refuse(flag, "has no say with --context-size, which cuts documents where contexts end");
  if (prompt === "arc")
    refuse("--context-size", "packs documents, and --prompt arc makes puzzles: use --prompt text or chat");
  if (["mean", "max"].includes(positions.trim()) && flags.attendAcross !== true)
    refuse(`--positions ${positions}`, "would mix the documents of a context: it needs --attend-across");
}

/** Where the run lives, and where its shards lie while they are under way: the variables mean other things where they ask for an upload. */
export function resolvePlaces(flags: Flags, env: Environment): Pick<ExtractOptions, "output" | "spool"> {
  for (const name of ["output", "spool"]) if (flags[name] === "") refuseEmpty(nameOfFlag(name), "");
  const spool = typeof flags.spool === "string" ? flags.spool : undefined;
  if (typeof flags.output === "string") return { output: flags.output, spool };
  if (env.UPLOAD_TO_GCS !== undefined && parseSwitch("UPLOAD_TO_GCS", env.UPLOAD_TO_GCS)) {
    const bucket = required(
      "GCS_BUCKET",
      env.GCS_BUCKET || undefined,
      "the bucket that UPLOAD_TO_GCS=true asks for",
    );
    const name = bucket.replace(/^gs:\/\//, "").replace(/\/+$/, "");
    const prefix = (env.GCS_PREFIX || "activations").replace(/^\/+|\/+$/g, "");
    return { output: `gs://${name}/${prefix}`, spool: spool ?? (env.OUTPUT_DIR || undefined) };
  }
  const output = required("--output", env.OUTPUT_DIR || undefined, "where the run is to live");
  return { output, spool };
}

/** `--output-dir` of `outputDir`. */
function nameOfFlag(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

function required(flag: string, value: string | undefined, expected: string): string {
  if (value !== undefined && value !== "") return value;
  throw new SluiceError("usage", `${flag} is missing`, { expected, fix: "See sluice extract --help." });
}

function sizeInGigabytes(value: string | undefined): string | undefined {
  return value === undefined || value === "" ? undefined : `${parsePositive("SHARD_SIZE_GB", value)}GB`;
}

/** A sample whose end is what is wanted, or a puzzle without its last pair, is worth nothing when cut. */
function defaultTooLong(prompt: string, positions: string): string {
  return prompt === "arc" || countsFromEnd(positions) ? "skip" : "cut";
}

function countsFromEnd(positions: string): boolean {
  return positions === "last" || /(^|,|:)-\d/.test(positions);
}

function resolveMaxSkipped(text: string | undefined): number | "all" | "half" {
  if (text === undefined) return "half";
  return text === "all" ? "all" : parseWhole("--max-skipped", text);
}
