// The end of a run: one of its workers looks once more whether everything is there, and writes the index, which takes reading
// every commit; the others wait for that. A worker that ends with 0 leaves a run with an index.

import type { Clock } from "../base/clock.js";
import { SluiceError } from "../base/errors.js";
import { plural } from "../base/plural.js";
import type { Unit } from "../plan/unit.js";
import type { Store } from "../store/store.js";
import type { DerivedFiles } from "./derived-files.js";
import type { Leases } from "./leases.js";
import type { CommitLog } from "./log.js";
import type { Progress } from "./progress.js";

/** The lease of the worker that completes the run. */
const COMPLETE = "complete";
/** On an object store, polls between two looks whether whoever completes the run is alive. */
const POLLS_A_LOOK = 4;

/** What is needed to complete a run. */
export interface CompleteRunParts {
  readonly store: Store;
  readonly log: CommitLog;
  readonly leases: Leases;
  readonly derived: DerivedFiles;
  readonly progress: Progress;
  /** The version of index.json when this worker started; null where there was none. */
  readonly indexBefore: string | null;
  readonly pollMs: number;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/**
 * Completes a run whose every unit has a commit, or waits until somebody has.
 * @returns the units whose data are missing: they are to be made again first. (Data in `alt/` that are missing show here at the
 *   latest, where another object has the unit's usual name.)
 * @throws SluiceError `data` where commits went missing while this worker ran.
 */
export async function completeRun(parts: CompleteRunParts): Promise<readonly Unit[]> {
  const { store, log, leases, derived, progress, indexBefore, pollMs, clock, signal } = parts;
  const hasCommitted = progress.shards > 0;
  const described = derived.finishStream(signal).then(() => derived.writeNotes());
  described.catch(() => {}); // Raised below.
  // Others who have stored the last shards are about to write down what is in their streams, or have read more of it than this worker.
  let mayWait = log.isRemote && log.made < log.unitTotal;
  const waitForOthers = async () => {
    if (mayWait && (await leases.sawOthers())) await clock.sleep(pollMs, signal);
    mayWait = false;
  };
  for (let poll = 1; ; poll++) {
    const index = (await store.head("index.json"))?.version ?? null;
    if (index !== null && index !== indexBefore) {
      await described;
      return []; // Somebody has seen the whole run since.
    }
    if (mayWait && 2 * log.countUnread() > log.unitTotal) {
      await waitForOthers();
      continue;
    }
    const lease = await leases.claim(COMPLETE);
    if (lease) {
      try {
        await waitForOthers();
        await log.refresh();
        await refuseLostCommits(log);
        await derived.readDescribed(signal);
        const missing = await log.findMissingData(signal);
        await described;
        if (missing.length === 0) await derived.complete(progress.takeStreams(), hasCommitted, signal);
        return missing;
      } finally {
        leases.release(lease).catch(() => {}); // Left behind, it costs time only.
      }
    }
    await described;
    if (index !== null && !hasCommitted) return [];
    await clock.sleep(pollMs, signal);
    if (!log.isRemote || poll % POLLS_A_LOOK === 0) await leases.refresh();
  }
}

/** The last look before a run is called complete; the log has just been listed. */
async function refuseLostCommits(log: CommitLog): Promise<void> {
  const lost = await log.findLostCommits();
  if (lost.length === 0) return;
  throw new SluiceError(
    "data",
    `the commits of ${plural(lost.length, "unit")} went missing while this worker ran`,
    {
      fix: "Run extract again.",
    },
  );
}
