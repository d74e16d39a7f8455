// What a run will hold and whether its disk has room for it, from records sampled when the run is created. A run that does
// not fit is refused before it starts, not hours later by a full disk.

import { setImmediate as nextTurn } from "node:timers/promises";
import { z } from "zod";
import { bytesOf, elementsOf } from "../base/dtype.js";
import { SluiceError } from "../base/errors.js";
import { formatBytes } from "../base/format-bytes.js";
import { plural } from "../base/plural.js";
import type { SampledRecord } from "../data/record-stream.js";
import { RecordReader } from "../data/records.js";
import { sampleUnit } from "../data/unit-samples.js";
import { type ExpectedRun, type RecordSize, type RunShape, remainingBytes } from "../estimate/run-size.js";
import { freeSpace } from "../store/free-space.js";
import type { Store } from "../store/store.js";
import type { RunFile } from "./identity.js";
import type { RunPlan } from "./run-plan.js";

/** Records looked at, where they only say the run's size and do not decide the samples per shard. */
const SAMPLED_FOR_SIZE = 200;
/** Of long records fewer are looked at, evenly: tokenizing them all would take half a minute. */
const SAMPLED_BYTES = 2_000_000;
const SAMPLED_AT_LEAST = 100;
/** Variants of one task are much alike: so many are looked at, and stand for the rest. */
const SAMPLED_VARIANTS = 4;
/** What deflate leaves of a pickle of Gaussian values (bfloat16 lies there as float32, half of whose bytes are 0). Real ones compress better: the estimate is on the safe side. */
const COMPRESSED = { float32: 0.93, float16: 0.93, bfloat16: 0.52 } as const;

/**
 * Sizes of records that stand for all of the dataset's, as they would be computed and stored.
 * @param records evenly spaced. @param warn called where none of them gives a sample: most often a wrong --column.
 */
export async function measureRecords(
  plan: RunPlan,
  records: readonly SampledRecord[],
  warn: (message: string) => void,
  signal?: AbortSignal,
): Promise<RecordSize[]> {
  const variants = Math.min(plan.rules.augment, SAMPLED_VARIANTS);
  const scale = plan.rules.augment / variants;
  const reader = new RecordReader({ ...plan.rules, augment: variants }, plan.tokenizer);
  const most = plan.options.samplesPerShard === undefined ? records.length : SAMPLED_FOR_SIZE;
  const sizes: RecordSize[] = [];
  let reason: string | undefined;
  for (const [record, { raw, weight, bytes }] of thinOut(records, most).entries()) {
    signal?.throwIfAborted();
    const { samples, skipped, leftOut } = sampleUnit(reader, [{ record, raw }]);
    reason ??= (skipped[0] ?? leftOut[0])?.reason;
    const total = (value: (sample: (typeof samples)[number]) => number) =>
      scale * samples.reduce((sum, sample) => sum + value(sample), 0);
    sizes.push({
      weight,
      bytes,
      samples: total(() => 1),
      tokens: total((s) => s.ids.length),
      rows: total((s) => (plan.selection === "rows" ? s.positions.length : 1)),
      infoBytes: total((s) => Buffer.byteLength(s.info)),
      previewBytes: total((s) => Buffer.byteLength(s.preview)),
    });
    await nextTurn();
  }
  if (sizes.length > 0 && sizes.every(({ samples }) => samples === 0))
    warn(`none of the records looked at gives a sample (${reason}); check --column and --prompt`);
  return sizes;
}

/** Every k-th record, so that there are about `most` of them and not too many bytes. */
function thinOut(records: readonly SampledRecord[], most: number): readonly SampledRecord[] {
  const total = records.reduce((sum, { bytes }) => sum + bytes, 0);
  const byBytes = Math.min(Math.ceil(total / SAMPLED_BYTES), Math.floor(records.length / SAMPLED_AT_LEAST));
  const step = Math.max(1, byBytes, Math.floor(records.length / most));
  return records.filter((_, i) => i % step === 0);
}

/** What of a plan decides the run's size. */
export function shapeOf({ options, activations }: RunPlan, samplesPerShard: number): RunShape {
  const rowBytes = activations.reduce((sum, a) => sum + bytesOf(a.dtype) * elementsOf(a.rowShape), 0);
  return {
    format: options.format,
    tensors: activations.length,
    rowBytes,
    compressedShare: options.format === "pkl.gz" ? COMPRESSED[options.dtype] : 1,
    samplesPerShard,
  };
}

const recordSchema = z.looseObject({
  expected: z.object({
    records: z.number(),
    samples: z.number(),
    tokens: z.number(),
    shards: z.number(),
    bytes: z.number(),
  }),
});

/** What the run's creator expected of it; null where run.json does not say. */
export function expectedOf(run: RunFile): ExpectedRun | null {
  const parsed = recordSchema.safeParse(run.record);
  return parsed.success ? parsed.data.expected : null;
}

/** How much of a run has a commit already. */
export interface Done {
  readonly committed: number;
  readonly units: number;
}

/**
 * Looks whether what is still to come fits the disk of a local store.
 * @param anyway start even so (`--yes`). @returns a line that says both sizes.
 * @throws SluiceError `store` where it does not fit: the cure is that of a full disk, only earlier.
 */
export async function checkSpace(
  store: Store,
  expected: ExpectedRun,
  done: Done,
  anyway: boolean,
): Promise<string> {
  const free = await freeSpace(store);
  return compareSpace(store.uri, expected, done, free, anyway);
}

/** {@link checkSpace}, the free space known. */
export function compareSpace(
  where: string,
  expected: ExpectedRun,
  { committed, units }: Done,
  free: number | null,
  anyway: boolean,
): string {
  const bytes = remainingBytes(expected, committed, units);
  const left = units - committed;
  const shards = `${formatBytes(bytes)} in ${plural(left, "shard")}`;
  if (free === null) return `about ${shards} to come`;
  if (bytes > free && !anyway) {
    throw new SluiceError("store", `the run does not fit the disk of ${where}`, {
      found: `${formatBytes(free)} free`,
      expected: `room for about ${shards}`,
      fix: "Free space, name an --output on another disk, store less (--layers, --hooks, --positions, --dtype), or start anyway with --yes.",
      values: { free, expected: bytes },
    });
  }
  return `about ${shards} to come; ${formatBytes(free)} free${bytes > free ? ", which is too little" : ""}`;
}

/** Shards that a worker's spool holds at once: one under way, one that is uploaded, one that is compressed meanwhile. */
const SPOOLED_SHARDS = 3;

/**
 * Looks whether a bucket's spool has room for the shards under way.
 * @param free bytes; null where that is not known. @param anyway start even so (`--yes`).
 * @throws SluiceError `store` where they do not fit.
 */
export function compareSpoolSpace(
  folder: string,
  { bytes, shards }: ExpectedRun,
  free: number | null,
  anyway: boolean,
): void {
  const needed = (SPOOLED_SHARDS * bytes) / Math.max(1, shards);
  if (free === null || needed <= free || anyway) return;
  throw new SluiceError("store", `the shards under way do not fit the disk of ${folder}`, {
    found: `${formatBytes(free)} free`,
    expected: `${formatBytes(needed)}: room for ${SPOOLED_SHARDS} shards`,
    fix: "Name a --spool on another disk, make the run anew with a smaller --shard-size, or start anyway with --yes.",
    values: { free, expected: needed },
  });
}
