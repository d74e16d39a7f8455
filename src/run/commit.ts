// A commit is the one point where a shard starts to exist: a small JSON object, created once, never changed. It holds
// everything that a reader, `verify` and a resume need to know of a unit; the truth of a run is its commits alone.

import { z } from "zod";
import { bytesOf, elementsOf } from "../base/dtype.js";
import { SluiceError } from "../base/errors.js";

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const crc32c = z.string().regex(/^[0-9a-f]{8}$/);
const count = z.number().int().nonnegative();
const skipped = z.object({ record: count, id: z.string(), reason: z.string() });

/** Where one tensor lies in the data object (offset in bytes from its start), and its checksum. */
export const tensorEntrySchema = z.object({
  dtype: z.enum(["float32", "bfloat16", "float16", "int64", "int32", "uint8"]),
  shape: z.array(count),
  offset: count,
  length: count,
  crc32c,
});

/** Running statistics of one activation tensor over the stored values of one or more shards. */
export const statisticsEntrySchema = z.object({
  /** Finite elements. */
  count,
  rows: count,
  mean: z.number(),
  /** Of all elements, over their common mean. */
  variance: z.number(),
  /** Mean over rows of the Euclidean norm. */
  mean_norm: z.number(),
  max_abs: z.number(),
  nan: count,
  inf: count,
  /** Finite values that became infinite when stored as float16. */
  overflow: count,
});

/** Which samples have NaN or infinite values in one tensor. */
export const nonFiniteEntrySchema = z.object({
  /** How many. */
  samples: count,
  /** The first few, in the shard's order. */
  first: z.array(z.object({ record: count, part: count, nan: count, inf: count })),
});

/** The schema of `tpu_N/shard_K.json`. Unknown members are kept, so that later versions may add. */
export const commitSchema = z.looseObject({
  format: z.literal("sluice-commit-1"),
  /** The run's id. */
  run: z.string(),
  stream: count,
  /** The unit's number in its stream; the shard's number is one more. */
  unit: count,
  /** Name of the data object relative to the commit's folder; null where the unit holds no usable sample. */
  data: z.string().nullable(),
  size: count,
  sha256: sha256.nullable(),
  crc32c: crc32c.nullable(),
  /** Records of the stream, [from, to). */
  records: z.tuple([count, count]),
  samples: count,
  /** Rows stored. */
  rows: count,
  /** Tokens the model read. */
  tokens: count,
  /** Tokens computed, padding included. */
  tokens_computed: count,
  unit_sha256: sha256,
  token_sha256: sha256,
  skipped: z.array(skipped),
  left_out: z.array(skipped),
  tensors: z.record(z.string(), tensorEntrySchema),
  statistics: z.record(z.string(), statisticsEntrySchema),
  /** By tensor; absent where every value is finite. */
  non_finite: z.record(z.string(), nonFiniteEntrySchema).optional(),
  execution: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])),
  by: z.looseObject({
    /** Random, new for each attempt: tells a lost reply of ours from somebody else's commit. */
    attempt: z.string(),
    worker: z.string(),
    worker_id: count,
    started: z.string(),
    finished: z.string(),
  }),
});

/** One unit's commit, as stored. */
export type Commit = z.infer<typeof commitSchema>;
/** Statistics of one tensor, as stored. */
export type StatisticsEntry = z.infer<typeof statisticsEntrySchema>;
/** Which samples of a tensor have values that are not finite, as stored. */
export type NonFiniteEntry = z.infer<typeof nonFiniteEntrySchema>;
/** A record or sample without data, and why. */
export type SkippedEntry = z.infer<typeof skipped>;

/** The commit as it is stored: JSON on one line, ending in a newline. */
export function encodeCommit(commit: Commit): Uint8Array {
  return Buffer.from(`${JSON.stringify(commit)}\n`);
}

/**
 * Parses and checks a commit.
 * @throws SluiceError `data` naming the object where it is not a commit (torn, edited, of a later format).
 */
export function decodeCommit(name: string, bytes: Uint8Array): Commit {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch (cause) {
    throw new SluiceError("data", `commit ${name} is not JSON`, {
      found: `${bytes.length} bytes`,
      fix: "Restore it from a copy, or remove it: extract computes the unit again.",
      cause,
    });
  }
  const parsed = commitSchema.safeParse(value);
  if (!parsed.success) {
    throw new SluiceError(
      "data",
      `commit ${name} does not have the form of a commit: ${z.prettifyError(parsed.error)}`,
      {
        fix: "Restore it from a copy, or remove it: extract computes the unit again.",
      },
    );
  }
  refuseMisplaced(name, parsed.data);
  return parsed.data;
}

/** Readers count and cut by these numbers, and a commit may come from a stranger: tensors are as long as their shapes say, inside the data, and do not overlap. */
function refuseMisplaced(name: string, { size, tensors }: Commit): void {
  const places = Object.entries(tensors).sort(([, a], [, b]) => a.offset - b.offset || a.length - b.length);
  let end = 0;
  for (const [tensor, { dtype, shape, offset, length }] of places) {
    const bytes = elementsOf(shape) * bytesOf(dtype);
    if (bytes === length && offset >= end && offset + length <= size) {
      end = offset + length;
      continue;
    }
    throw new SluiceError("data", `commit ${name} puts tensor ${JSON.stringify(tensor)} where none can be`, {
      found: `${length} bytes from byte ${offset}, shape ${shape.join(" x ")} of ${dtype}`,
      expected: `${bytes} bytes, from byte ${end} on, within the ${size} bytes of its data`,
      fix: "Restore it from a copy, or remove it: extract computes the unit again.",
    });
  }
}
