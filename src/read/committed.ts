// What has been committed, in numbers, with few requests: which units, the listing says; which records, arithmetic. Samples and tokens
// stand in the commits, which never change and are the same whoever made them, so that whatever repeats them will do:
// the index of a complete run, what was written down of a stream. Only commits that nothing repeats yet are read.

import { mapAhead } from "../base/read-ahead.js";
import { type Unit, unitName } from "../plan/unit.js";
import { decodeMetadata, listDescribed, trustDescribed } from "../run/derived.js";
import type { ReadableRun } from "./open-run.js";

const READS_AT_ONCE = 64;

/** Sums over the commits of a run. */
export interface Committed {
  readonly shards: number;
  readonly records: number;
  readonly samples: number;
  readonly tokens: number;
  readonly bytes: number;
}

type Numbers = Pick<Committed, "samples" | "tokens" | "bytes">;

/** Sums over all commits of the run, which has just been opened. @throws SluiceError `data` where a commit that is read is damaged. */
export async function countCommitted(readable: ReadableRun): Promise<Committed> {
  const { log } = readable;
  const known = log.committed === log.unitTotal ? await readIndex(readable) : new Map<string, Numbers>();
  if (known.size < log.committed) await readStreams(readable, known);
  const read = async (unit: Unit) => ({
    unit,
    numbers: known.get(unitName(unit)) ?? (await readCommit(readable, unit)),
  });
  const sums = { shards: 0, records: 0, samples: 0, tokens: 0, bytes: 0 };
  for await (const { unit, numbers } of mapAhead(log.committedUnits(), READS_AT_ONCE, read)) {
    if (!numbers) continue; // It went away since it was listed.
    sums.shards += 1;
    sums.records += unit.to - unit.from;
    sums.samples += numbers.samples;
    sums.tokens += numbers.tokens;
    sums.bytes += numbers.bytes;
  }
  return sums;
}

async function readIndex({ log }: ReadableRun): Promise<Map<string, Numbers>> {
  const index = (await log.readIndex()) ?? [];
  return new Map(
    index.map(({ stream, unit, samples, tokens, size }) => [
      unitName({ stream, index: unit }),
      { samples, tokens, bytes: size },
    ]),
  );
}

/** A request for each stream that is complete, or of which its worker has written files. */
async function readStreams({ store, run, log }: ReadableRun, known: Map<string, Numbers>): Promise<void> {
  await trustDescribed(store, run, log);
  for (const { stream, unit, samples, tokens, size } of log.known.all())
    known.set(unitName({ stream, index: unit }), { samples, tokens, bytes: size });
  const read = async (stream: number) => {
    const bytes = await store.read(`tpu_${stream}/metadata.json`).catch(() => new Uint8Array());
    return { stream, shards: decodeMetadata(bytes, run.run) };
  };
  const streams = listDescribed(log, "metadata.json");
  for await (const { stream, shards } of mapAhead(streams, READS_AT_ONCE, read))
    for (const { shard_id: shard, filename, samples, tokens } of shards) {
      const bytes = log.listedSize(`tpu_${stream}/${filename}`);
      if (bytes !== undefined) known.set(unitName({ stream, index: shard - 1 }), { samples, tokens, bytes });
    }
}

async function readCommit({ log }: ReadableRun, unit: Unit): Promise<Numbers | null> {
  const commit = await log.read(unit);
  return commit && { samples: commit.samples, tokens: commit.tokens, bytes: commit.size };
}
