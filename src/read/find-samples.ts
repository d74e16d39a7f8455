// Samples by the number of their record or by the dataset's own id, and the index of the shard that holds them.

import { z } from "zod";
import { SluiceError } from "../base/errors.js";
import { unitName } from "../plan/unit.js";
import type { Commit } from "../run/commit.js";
import { dataName } from "../run/log.js";
import type { Store } from "../store/store.js";
import type { ReadableRun } from "./open-run.js";
import { readInt32, readInt64, readOffsets, readTensor } from "./read-tensor.js";

/** Which sample: the record's index in the dataset, or the id that it has there. */
export type WantedSample = { readonly record: number } | { readonly id: string };

const infoSchema = z.looseObject({
  id: z.unknown(),
  /** Of a context. */
  documents: z.array(z.looseObject({ id: z.unknown(), record: z.number().optional() })).optional(),
});

/** The index of one shard. Offsets have one entry more than there are samples. */
export interface ShardSamples {
  readonly commit: Commit;
  readonly records: readonly number[];
  readonly parts: Int32Array;
  readonly inputIds: Int32Array;
  readonly inputOffsets: readonly number[];
  readonly rowOffsets: readonly number[];
  readonly positions: Int32Array;
  readonly tokenIds: Int32Array;
  readonly flags: Uint8Array;
  /** The JSON that the shard keeps of a sample. */
  info(number: number): unknown;
}

/** Reads a shard's index. @throws SluiceError `data` where it is corrupt, or has none (pkl.gz). */
export async function openShardSamples(store: Store, commit: Commit): Promise<ShardSamples> {
  const [infos, infoOffsets, records, parts, inputIds, inputOffsets, rowOffsets, positions, tokenIds, flags] =
    await Promise.all([
      readTensor(store, commit, "sample_info"),
      readOffsets(store, commit, "sample_info_offsets", "sample_info"),
      readInt64(store, commit, "sample_ids"),
      readInt32(store, commit, "sample_parts"),
      readInt32(store, commit, "input_ids"),
      readOffsets(store, commit, "input_offsets", "input_ids"),
      readOffsets(store, commit, "sample_offsets", "token_ids"),
      readInt32(store, commit, "positions"),
      readInt32(store, commit, "token_ids"),
      readTensor(store, commit, "token_flags"),
    ]);
  const info = (number: number): unknown => {
    const text = Buffer.from(infos.subarray(infoOffsets[number], infoOffsets[number + 1])).toString("utf8");
    try {
      return JSON.parse(text);
    } catch (cause) {
      throw new SluiceError("data", `sample ${number} of ${dataName(commit)} has no JSON in sample_info`, {
        cause,
      });
    }
  };
  return { commit, records, parts, inputIds, inputOffsets, rowOffsets, positions, tokenIds, flags, info };
}

/**
 * The shard that holds the samples wanted, and their numbers in it. An id that is a number is first looked for where that record is.
 * @throws SluiceError `data` where there is none: with the reason, where the record was left out.
 */
export async function findSamples(
  readable: ReadableRun,
  wanted: WantedSample,
): Promise<{ readonly shard: ShardSamples; readonly numbers: readonly number[] }> {
  const record = "record" in wanted ? wanted.record : /^\d+$/.test(wanted.id) ? Number(wanted.id) : undefined;
  const likely = record === undefined ? null : await commitOfRecord(readable, record);
  const found = likely && (await lookIn(readable.store, likely, wanted));
  if (found) return found;
  const listed = likely === null ? undefined : listedIn(likely, wanted);
  if ("record" in wanted) throw notThere(readable, `record ${wanted.record}`, likely, listed);
  for await (const commit of readable.log.commits()) {
    const here = await lookIn(readable.store, commit, wanted);
    if (here) return here;
    const reason = listedIn(commit, wanted);
    if (reason !== undefined) throw notThere(readable, `id ${wanted.id}`, commit, reason);
  }
  throw notThere(readable, `id ${wanted.id}`, null, undefined);
}

/** Record i of the dataset is record floor(i / S) of stream i mod S. */
async function commitOfRecord({ run, log }: ReadableRun, record: number): Promise<Commit | null> {
  const { streams } = run.identity.dataset;
  const stream = record % streams.length;
  const index = Math.floor(Math.floor(record / streams.length) / run.identity.samples_per_shard);
  return index < (log.unitCounts[stream] ?? 0) ? log.read(log.unitAt(stream, index)) : null;
}

async function lookIn(store: Store, commit: Commit, wanted: WantedSample) {
  if (commit.data === null) return null;
  const shard = await openShardSamples(store, commit);
  const numbers = shard.records.flatMap((record, number) => {
    const { id, documents = [] } = infoSchema.parse(shard.info(number));
    const isIt =
      "record" in wanted
        ? record === wanted.record || documents.some((d) => d.record === wanted.record)
        : String(id) === wanted.id || documents.some((d) => String(d.id) === wanted.id);
    return isIt ? [number] : [];
  });
  return numbers.length > 0 ? { shard, numbers } : null;
}

/** Why a unit has no sample of the record. */
function listedIn(commit: Commit, wanted: WantedSample): string | undefined {
  const entries = [...commit.skipped, ...commit.left_out];
  return entries.find((e) => ("record" in wanted ? e.record === wanted.record : e.id === wanted.id))?.reason;
}

function notThere({ store }: ReadableRun, what: string, commit: Commit | null, reason: string | undefined) {
  const where = commit
    ? `${unitName({ stream: commit.stream, index: commit.unit })} of ${store.uri}`
    : store.uri;
  return new SluiceError("data", `there is no sample of ${what} in ${where}`, {
    ...(reason === undefined ? {} : { found: `left out: ${reason}` }),
    fix: "See sluice verify for what is committed and what was left out.",
  });
}
