// How far a run is, and who works on it: the commits, and the workers' heartbeats.

import { countCommitted } from "./committed.js";
import type { ReadableRun } from "./open-run.js";
import { readWorkers, type WorkerState } from "./workers.js";

/** What `sluice status --json` prints. */
export interface RunStatus {
  readonly run: string;
  readonly shards: number;
  readonly shards_total: number;
  readonly records: number;
  readonly records_total: number;
  readonly samples: number;
  readonly tokens: number;
  readonly bytes: number;
  readonly complete: boolean;
  /** Tokens a second of the workers that are alive and running, and the time left at that rate; null where none is. */
  readonly tokens_per_second: number;
  readonly seconds_left: number | null;
  readonly workers: readonly WorkerState[];
}

/**
 * The state of a run at this moment.
 * @param onWait called when a second look at the workers takes some seconds.
 */
export async function readStatus(
  readable: ReadableRun,
  onWait?: (workers: number, seconds: number) => void,
): Promise<RunStatus> {
  const { store, run, log } = readable;
  const units = log.unitTotal;
  const [committed, workers] = await Promise.all([countCommitted(readable), readWorkers(store, { onWait })]);
  const { shards, records, tokens } = committed;
  const rate = workers
    .filter((w) => w.alive && w.status === "running" && w.seconds > 0)
    .reduce((total, w) => total + w.tokens / w.seconds, 0);
  const left =
    records === 0 ? Number.POSITIVE_INFINITY : (tokens / records) * (run.identity.dataset.records - records);
  return {
    run: run.run,
    shards,
    shards_total: units,
    records,
    records_total: run.identity.dataset.records,
    samples: committed.samples,
    tokens,
    bytes: committed.bytes,
    complete: shards === units,
    tokens_per_second: rate,
    seconds_left: shards === units ? 0 : rate > 0 && Number.isFinite(left) ? left / rate : null,
    workers,
  };
}
