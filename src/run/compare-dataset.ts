// A dataset held against a run: the unit tables are made again from its bytes, and compared with the run's own and with the
// hash that each commit says it was computed from. Hashes are per unit, so a difference is named by its unit's records.

import { isSluiceError } from "../base/errors.js";
import { plural } from "../base/plural.js";
import { openDataset } from "../data/dataset.js";
import { usedColumns } from "../data/records.js";
import { scanDataset } from "../data/scan.js";
import { decodeUnitTable, hashUnitTable, type UnitTable } from "../data/unit-table.js";
import { type Unit, unitName } from "../plan/unit.js";
import type { Store } from "../store/store.js";
import type { RunFile } from "./identity.js";
import type { CommitLog } from "./log.js";

/** One place where dataset and run are not of the same records. */
export interface DatasetDifference {
  /** `tpu_0/shard_0004`; null where it concerns the whole dataset. */
  readonly unit: string | null;
  /** Records of the stream, [from, to); null where it concerns the whole dataset. */
  readonly records: readonly [number, number] | null;
  readonly stream: number | null;
  readonly reason: string;
}

/** What comparing needs of the run, and whom to tell how far it is. */
export interface CompareOptions {
  readonly store: Store;
  readonly run: RunFile;
  readonly log: CommitLog;
  readonly onProgress?: (bytes: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/**
 * Compares the dataset at `path` with the run's records, byte for byte by their hashes.
 * @returns every difference; none where it is the dataset that the run was made of.
 * @throws SluiceError `config` where there is no such dataset.
 */
export async function compareDataset(path: string, options: CompareOptions): Promise<DatasetDifference[]> {
  const { run, log, signal, onProgress } = options;
  const { dataset: wanted, samples_per_shard: perShard, prompt } = run.identity;
  const dataset = await openDataset(
    path,
    usedColumns({ prompt: prompt.kind, column: prompt.column, keepColumns: prompt.keep_columns }),
  );
  if (dataset.streams.length !== wanted.streams.length) {
    const reason = `it has ${dataset.streams.length} streams, the run ${wanted.streams.length}`;
    return [{ unit: null, records: null, stream: null, reason }];
  }
  const total = dataset.streams.reduce((sum, stream) => sum + stream.bytes, 0);
  const maxSamples = wanted.max_samples ?? undefined;
  const now = await scanDataset(dataset, perShard, maxSamples, (done) => onProgress?.(done, total), signal);
  const tables = await Promise.all(wanted.streams.map((_, s) => readTable(options, s)));
  const differences: DatasetDifference[] = [];
  for (const unit of log.units()) {
    signal?.throwIfAborted();
    const found = now[unit.stream]?.units[unit.index]?.sha256;
    const table = tables[unit.stream] ?? null;
    const reason =
      found === undefined
        ? "the dataset ends before it"
        : table !== null && found !== table.units[unit.index]?.sha256
          ? "its bytes are not those of the run's creation"
          : await compareCommit(log, unit, found);
    if (reason !== null)
      differences.push({ unit: unitName(unit), records: [unit.from, unit.to], stream: unit.stream, reason });
  }
  for (const [s, stream] of wanted.streams.entries()) {
    const here = now[s];
    if (!here || hashUnitTable(here) === stream.sha256 || differences.some((d) => d.stream === s)) continue;
    const records = [stream.records, here.records] as const;
    const reason =
      here.records > stream.records
        ? `${plural(here.records - stream.records, "record")} ${here.records - stream.records === 1 ? "was" : "were"} appended`
        : "its lines are not where they were at the run's creation";
    differences.push({ unit: null, records, stream: s, reason });
  }
  return differences;
}

/** Whether the unit's commit, where it has one, was computed from these bytes; a commit that cannot be read is verify's to report. */
async function compareCommit(log: CommitLog, unit: Unit, sha256: string): Promise<string | null> {
  try {
    const commit = await log.read(unit);
    return commit === null || commit.unit_sha256 === sha256
      ? null
      : "its commit was computed from other bytes";
  } catch (error) {
    if (isSluiceError(error, "data")) return null;
    throw error;
  }
}

/** The run's own table of a stream; null where it is missing or damaged (the commits' hashes are compared all the same). */
async function readTable({ store, run }: CompareOptions, stream: number): Promise<UnitTable | null> {
  const name = `units/tpu_${stream}.bin`;
  if ((await store.head(name)) === null) return null;
  try {
    const table = decodeUnitTable(await store.read(name), `${store.uri}/${name}`);
    return hashUnitTable(table) === run.identity.dataset.streams[stream]?.sha256 ? table : null;
  } catch (error) {
    if (isSluiceError(error, "data")) return null;
    throw error;
  }
}
