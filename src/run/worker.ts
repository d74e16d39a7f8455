// The worker's loop. One unit is read ahead and one is being stored while one is computed, so that the engine waits for
// neither the dataset nor the store; a worker that dies loses at most these three, and they are computed again.

import { type Clock, realClock } from "../base/clock.js";
import { isSluiceError, messageOf, SluiceError } from "../base/errors.js";
import type { UnitReader, UnitSamples } from "../data/samples.js";
import { type Unit, unitName } from "../plan/unit.js";
import type { Claim, Claims } from "./claims.js";
import { EngineFailure, type UnitRunner } from "./engine-process.js";
import type { Leases } from "./leases.js";
import type { Preemption } from "./preemption.js";
import type { Progress } from "./progress.js";
import type { ShardWriter, SpooledUnit } from "./shard-writer.js";

/** What the loop is made of. */
export interface WorkerParts {
  readonly claims: Claims;
  readonly leases: Leases;
  readonly reader: UnitReader;
  readonly runner: UnitRunner;
  readonly shards: ShardWriter;
  readonly preemption: Preemption;
  readonly progress: Progress;
  /** Milliseconds between looks at what others do, while they hold the last units. */
  readonly pollMs: number;
  readonly clock?: Clock;
}

/** How a worker ended. */
export type WorkerOutcome = "complete" | "preempted";

interface ReadUnit {
  readonly claim: Claim;
  readonly samples: UnitSamples;
}

/**
 * Computes units until every one has a commit, or until told to stop.
 * @throws SluiceError `data` where units failed too often or too many records are unusable; `store`, `config` as they come.
 */
export async function runWorker(parts: WorkerParts): Promise<WorkerOutcome> {
  const { preemption, progress, shards } = parts;
  /** A unit could not be stored: that ends the worker, and nothing more is worth computing. */
  const failed = new AbortController();
  const ahead = new ReadAhead(parts, failed.signal);
  let storing: Promise<void> = Promise.resolve();
  try {
    for (let read = await ahead.next(); read; read = await ahead.next()) {
      const spooled = await computeUnit(parts, read, failed.signal);
      await storing;
      if (!spooled) continue;
      storing = storeUnit(parts, read, spooled);
      storing.catch(() => failed.abort()); // Raised at the next await of `storing`.
    }
    await storing;
    return preemption.stopping.aborted && !progress.isComplete ? "preempted" : "complete";
  } finally {
    await Promise.allSettled([storing, ahead.drop()]);
    await shards.dropAll();
  }
}

/** Claims and reads the next unit while the current one is computed. */
class ReadAhead {
  readonly #parts: WorkerParts;
  readonly #dropped = new AbortController();
  /** Told to stop, failed, or dropped: waiting for others must end, since this very worker may be what is waited for. */
  readonly #signal: AbortSignal;
  #next: Promise<ReadUnit | null> | undefined;
  /** Aborted when what is being claimed is waited for. */
  #wanted = new AbortController();

  constructor(parts: WorkerParts, failed: AbortSignal) {
    this.#parts = parts;
    this.#signal = AbortSignal.any([parts.preemption.stopping, failed, this.#dropped.signal]);
  }

  /** The next unit, read; null when there is nothing left to do, or when told to stop. */
  async next(): Promise<ReadUnit | null> {
    this.#wanted.abort();
    const current = this.#next ?? claimAndRead(this.#parts, this.#signal, this.#wanted.signal);
    this.#next = undefined;
    const read = await current;
    if (!read) return null;
    if (this.#signal.aborted) {
      await release(this.#parts, read.claim);
      return null;
    }
    this.#wanted = new AbortController();
    this.#next = claimAndRead(this.#parts, this.#signal, this.#wanted.signal);
    this.#next.catch(() => {}); // Raised when it is its turn.
    return read;
  }

  /** Stops, and gives back what was read ahead. */
  async drop(): Promise<void> {
    this.#dropped.abort();
    const read = await this.#next?.catch(() => null);
    if (read) await release(this.#parts, read.claim);
  }
}

/** @param wanted aborted when the engine has nothing else to do: before, what others hold is not worth looking at. */
async function claimAndRead(
  parts: WorkerParts,
  signal: AbortSignal,
  wanted: AbortSignal,
): Promise<ReadUnit | null> {
  const { claims, progress, reader } = parts;
  while (!signal.aborted) {
    const claim = await claims.next();
    if ("unit" in claim) {
      try {
        return { claim, samples: await reader.read(claim.unit, signal) };
      } catch (error) {
        await release(parts, claim);
        if (signal.aborted) return null;
        throw error;
      }
    }
    if (claim.kind === "complete") {
      progress.isComplete = true;
      return null;
    }
    if (claim.kind === "given-up") throw await describeGivenUp(parts, claim.units);
    progress.isWaiting = true;
    await claims.wait(parts.pollMs, signal, wanted);
    progress.isWaiting = false;
  }
  return null;
}

/** Runs the unit's batches into a spool file; null where it was dropped: the engine failed on it, the grace is too short, or the worker has failed. */
async function computeUnit(
  parts: WorkerParts,
  read: ReadUnit,
  failed: AbortSignal,
): Promise<SpooledUnit | null> {
  const { claims, leases, preemption, progress, runner, shards, clock = realClock } = parts;
  const { unit } = read.claim;
  const started = clock.now();
  progress.startUnit(unitName(unit), read.samples);
  const stopIfLate = () => {
    const reserve = 2_000;
    if (progress.secondsLeftOfUnit() * 1000 > preemption.remainingMs - reserve) void runner.stop();
  };
  const stop = () => void runner.stop();
  preemption.stopping.addEventListener("abort", stopIfLate);
  failed.addEventListener("abort", stop);
  try {
    const spooled = await shards.spool(unit, read.samples, runner, (tokens) => progress.advance(tokens));
    progress.finishUnit((clock.now() - started) / 1000);
    return spooled;
  } catch (error) {
    progress.dropUnit();
    const stopped = preemption.stopping.aborted || failed.aborted;
    if (!stopped && error instanceof EngineFailure) await leases.noteFailure(unit, error.message);
    await release(parts, read.claim);
    claims.forget(unit, false);
    if (stopped || error instanceof EngineFailure) {
      if (!stopped)
        progress.warn(
          `the engine failed on ${unitName(unit)}: ${error instanceof Error ? error.message : error}`,
        );
      await runner.stop();
      return null;
    }
    throw error;
  } finally {
    preemption.stopping.removeEventListener("abort", stopIfLate);
    failed.removeEventListener("abort", stop);
  }
}

/** Data first, verified; then the commit, create-only; then the lease may go. */
async function storeUnit(parts: WorkerParts, read: ReadUnit, spooled: SpooledUnit): Promise<void> {
  const { claims, preemption, progress, shards, clock = realClock } = parts;
  const { unit } = read.claim;
  const how = { attempt: clock.uuid(), repair: claims.isRepair(unit), signal: preemption.now };
  try {
    const stored = await shards.store(unit, read.samples, spooled, how);
    progress.countUnit(read.samples, stored);
    claims.forget(unit, true);
  } finally {
    await release(parts, read.claim);
  }
}

async function release(parts: WorkerParts, claim: Claim): Promise<void> {
  parts.claims.forget(claim.unit, false);
  await parts.leases.release(claim.lease).catch((error: unknown) => {
    if (!isSluiceError(error, "store")) throw error; // A lease left behind costs time only.
  });
}

async function describeGivenUp(parts: WorkerParts, units: readonly Unit[]): Promise<SluiceError> {
  const names = units.map(unitName);
  const first = units[0];
  const cause = first ? await parts.leases.lastFailure(first) : "";
  return new SluiceError(
    "data",
    `the engine failed on ${names.slice(0, 5).join(", ")} five times; everything else is committed`,
    {
      found: `last cause: ${messageOf(cause)}`,
      fix: "Look at the unit's records, or try another machine, then start again with --retry-failed.",
      values: { units: names },
    },
  );
}
