// What makes a run: everything that decides its bytes up to the arithmetic of the machine. The hash of the identity is
// the run's id. Local paths, credentials and the machine are never part of it.

import { z } from "zod";
import { SluiceError } from "../base/errors.js";
import { hashJson, type Json } from "../base/json.js";
import { parseJsonBytes } from "../base/parse-json.js";
import { isHookName } from "../model/hooks.js";

const hash = z.string().regex(/^[0-9a-f]{64}$/);
const count = z.number().int().nonnegative();
/** A bit each is kept by every reader. */
const MAX_UNITS = 100_000_000;

/** The schema of `identity` in `run.json`. */
export const identitySchema = z.object({
  format: z.literal("sluice-run-1"),
  model: z.object({
    family: z.string(),
    revision: z.string().nullable(),
    /** The checkpoint's config.json as read. */
    config: z.record(z.string(), z.unknown()),
    weights_sha256: hash,
    /** The LoRA adapter that is merged into the weights: its numbers, not where it lay. */
    adapter: z.object({ config: z.record(z.string(), z.unknown()), weights_sha256: hash }).optional(),
  }),
  tokenizer: z.object({
    /** Null where every record brings its token ids. */
    sha256: hash.nullable(),
    special_ids: z.array(count),
    bos_id: count.nullable(),
    eos_ids: z.array(count),
    bos: z.enum(["tokenizer", "always", "never"]),
  }),
  dataset: z.object({
    name: z.string(),
    /** As given with --max-samples. */
    max_samples: count.nullable(),
    records: count,
    /** `sha256` is that of the stream's unit table, which holds the hash of every unit's bytes. */
    streams: z.array(z.object({ records: count, bytes: count, sha256: hash })),
  }),
  prompt: z.object({
    kind: z.enum(["text", "chat", "arc"]),
    column: z.string(),
    keep_columns: z.array(z.string()),
    /** Of the chat template; null for other prompts. */
    template_sha256: hash.nullable(),
    augment: count,
    max_seq_length: count,
    too_long: z.enum(["cut", "cut-left", "window", "skip"]),
    /** Null but for windows. */
    stride: count.nullable(),
    max_parts: count.nullable(),
    /** Null where each document is a sample; what follows is then false. */
    context_size: count.nullable(),
    attend_across: z.boolean(),
    drop_short: z.boolean(),
  }),
  /** Hook names in the order of the shards' tensors. */
  taps: z.array(z.string()),
  positions: z.string(),
  skip_special: z.boolean(),
  dtype: z.enum(["float32", "bfloat16", "float16"]),
  compute_dtype: z.enum(["float32", "bfloat16"]),
  shard_format: z.enum(["safetensors", "pkl.gz"]),
  samples_per_shard: count.min(1),
  /** The --shard-size it was chosen from; null where it was given itself. */
  shard_bytes: count.nullable(),
  max_skipped: z.union([count, z.literal("all"), z.literal("half")]),
  seed: z.number().int(),
  /** The run that this one was made like (--like): every unit's tokens and rows are those of that run. Absent for a run of its own. */
  like: hash.optional(),
});

/** A run's identity. */
export type Identity = z.infer<typeof identitySchema>;

/** The schema of `run.json`; `record` is for people and never compared. */
export const runFileSchema = z.object({
  run: hash,
  identity: identitySchema,
  record: z.looseObject({}),
});

/** `run.json`. */
export type RunFile = z.infer<typeof runFileSchema>;

/** The run's id: the SHA-256 of the identity in canonical JSON. */
export function runId(identity: Identity): string {
  return hashJson(identity as Json);
}

/** `run.json`'s bytes: indented for people. */
export function encodeRunFile(identity: Identity, record: Readonly<Record<string, unknown>>): Uint8Array {
  return Buffer.from(`${JSON.stringify({ run: runId(identity), identity, record }, null, 2)}\n`);
}

/**
 * Parses and checks `run.json`, its id included.
 * @throws SluiceError `data` where it is no run file, or its id is not the hash of its identity (edited by hand).
 */
export function decodeRunFile(bytes: Uint8Array, where: string): RunFile {
  const fix = "Restore run.json from a copy of the run; it is written once and never changed.";
  let value: unknown;
  try {
    value = parseJsonBytes(bytes);
  } catch (cause) {
    throw new SluiceError("data", `${where}/run.json is not JSON`, { fix, cause });
  }
  const parsed = runFileSchema.safeParse(value);
  if (!parsed.success) {
    const first = parsed.error.issues.slice(0, 2).map((issue) => `${issue.path.join(".")}: ${issue.message}`);
    throw new SluiceError("data", `${where}/run.json is not of this version, or is damaged`, {
      found: first.join("; "),
      fix: "Use the version that made the run (record.sluice in run.json), or restore run.json from a copy.",
    });
  }
  refuseImpossible(parsed.data.identity, where);
  const expected = runId(parsed.data.identity);
  if (parsed.data.run !== expected) {
    throw new SluiceError("data", `${where}/run.json was changed by hand`, {
      found: parsed.data.run,
      expected,
      fix,
    });
  }
  return parsed.data;
}

/** A run may come from a stranger: its numbers and names are what readers make room for, and files by. */
function refuseImpossible({ dataset, samples_per_shard: perShard, taps }: Identity, where: string): void {
  const units = dataset.streams.reduce((sum, { records }) => sum + Math.ceil(records / perShard), 0);
  if (units > MAX_UNITS)
    throw new SluiceError("data", `${where}/run.json says that the run has ${units} shards`, {
      expected: `at most ${MAX_UNITS}`,
    });
  const strange = taps.find((tap) => !isHookName(tap));
  if (strange !== undefined)
    throw new SluiceError("data", `${where}/run.json names a hook point that no model has`, {
      found: JSON.stringify(strange).slice(0, 100),
    });
}

/** One field in which two identities differ. */
export interface Difference {
  /** Dotted path, such as `model.config.rope_theta`. */
  readonly field: string;
  readonly run: unknown;
  readonly here: unknown;
}

/** The fields in which two JSON values differ, in the order of the first one's members. */
export function findDifferences(run: unknown, here: unknown, path = ""): Difference[] {
  if (isObject(run) && isObject(here)) {
    const keys = [...new Set([...Object.keys(run), ...Object.keys(here)])];
    return keys.flatMap((key) => findDifferences(run[key], here[key], path === "" ? key : `${path}.${key}`));
  }
  return JSON.stringify(run) === JSON.stringify(here) ? [] : [{ field: path, run, here }];
}

/**
 * Refuses a worker whose settings are not those of the run.
 * @throws SluiceError `config` naming each differing field with both values.
 */
export function refuseDifferences(differences: readonly Difference[], where: string): void {
  if (differences.length === 0) return;
  const lines = differences
    .slice(0, 8)
    .map((d) => `${d.field}: the run has ${show(d.run)}, this command ${show(d.here)}`);
  if (differences.length > lines.length) lines.push(`and ${differences.length - lines.length} more`);
  throw new SluiceError(
    "config",
    `the run at ${where} was started with another identity:\n  ${lines.join("\n  ")}`,
    {
      fix: "Use the run's settings, or another --output.",
      values: { differences },
    },
  );
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function show(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > 120 ? `${text.slice(0, 117)}...` : text;
}
