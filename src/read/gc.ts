// `gc`: removes what no commit names, of a complete run only. Why that is safe, also beside workers that slept through it (the case of
// SlateDB#352: a writer asleep across a gc, which then commits what the gc has removed):
//  - Where every unit has a commit, a sleeper's own commit finds its name taken: it can only lose, and what it made was never named.
//  - Data that a commit names are never candidates. A repair writes nothing but the very name that its unit's commit holds, so that it
//    cannot be hit; and while such data are missing, gc refuses the run: an orphan may be the only copy of them.
//  - A writer that finds its data's name taken adopts the object and then commits it: again a commit that loses. What is left is a person
//    who takes a commit away while gc runs. So each candidate's commit is read again just before, and objects go by their version only.
//  - Notes of commits repeat what the commits say, for whoever completes the run.
//  - Leases and heartbeats matter to nobody's correctness; those of workers that are alive stay all the same, and so do unfinished
//    uploads while anybody lives, who would have to start over.
// Data of another run (its id stands inside) and names that no run gives are left alone and listed; model/, units/ and derived files
// are not even looked at.

import { z } from "zod";
import { SluiceError } from "../base/errors.js";
import { parseJsonBytes } from "../base/parse-json.js";
import { plural } from "../base/plural.js";
import { mapAhead } from "../base/read-ahead.js";
import { headerLength, parseSafetensorsHeader } from "../base/safetensors-header.js";
import { type Unit, unitName } from "../plan/unit.js";
import { NOTE_NAME } from "../run/commit-notes.js";
import { FAILED_NAME, LEASE_NAME, leaseSchema } from "../run/leases.js";
import { COMMIT_NAME, dataName } from "../run/log.js";
import { findFormat } from "../shard/formats.js";
import { nodeFileSystem } from "../store/file-system.js";
import type { Store, Stored, UnfinishedUpload } from "../store/store.js";
import { findAbandoned } from "../store/temporary.js";
import { openRunForReading, type ReadableRun } from "./open-run.js";
import { readWorkers, type WorkerLook } from "./workers.js";

/** What one thing is that is removed. */
export type GarbageKind = "data" | "note" | "lease" | "failure" | "heartbeat" | "temporary" | "upload";

/** One thing that nothing needs. */
export interface Garbage {
  /** As in the run: `tpu_0/alt/shard_0001-0a1b2c3d.safetensors`, `.tmp/...`. */
  readonly name: string;
  /** Bytes; 0 for an unfinished upload, of which stores tell no size. */
  readonly size: number;
  readonly kind: GarbageKind;
}

/** What `sluice gc --json` prints. */
export interface GcReport {
  readonly run: string;
  readonly dry_run: boolean;
  /** Removed; with a dry run, what would be. */
  readonly removed: readonly Garbage[];
  /** Their sizes together. */
  readonly bytes: number;
  /** What was found in the run's folders and left alone, and why. */
  readonly kept: readonly { readonly name: string; readonly size: number; readonly reason: string }[];
}

/** How to collect. */
export interface GcOptions {
  readonly dryRun: boolean;
  readonly signal?: AbortSignal | undefined;
  /** Gets how many of how many commits have been read, then objects removed. */
  readonly onProgress?: (what: "read" | "removed", done: number, total: number) => void;
  /** Gets each thing once it is removed. */
  readonly onRemoved?: (garbage: Garbage) => void;
  /** How workers are looked at. */
  readonly look?: WorkerLook;
}

const AT_ONCE = 32;
/** Bytes of a data object that hold its run's id, nearly always. */
const HEAD_BYTES = 1 << 16;
const MAX_HEADER_BYTES = 1 << 24;
const DATA_NAME = /^tpu_(\d+)\/(?:alt\/)?shard_(\d{4,})(?:-[0-9a-f]{8})?(\.safetensors|\.pkl\.gz)$/;

interface Candidate extends Garbage {
  readonly remove: () => Promise<void>;
}

/**
 * Removes from a complete run what no commit names.
 * @throws SluiceError `config` where there is no run; `data` where it is not complete or its data are not whole: nothing is removed then.
 */
export async function collectGarbage(store: Store, options: GcOptions): Promise<GcReport> {
  const readable = await openRunForReading(store);
  const named = await readCommitted(readable, options);
  const kept: GcReport["kept"][number][] = [];
  const candidates: Candidate[] = [
    ...(await findOrphans(readable, named, kept, options.signal)),
    ...(await findLeavings(readable, kept, options)),
  ];
  if (!options.dryRun) await readable.log.confirmRun();
  const removed: Garbage[] = [];
  const removeOne = async ({ remove, ...garbage }: Candidate): Promise<Garbage> => {
    if (!options.dryRun) await remove();
    return garbage;
  };
  for await (const garbage of mapAhead(candidates, AT_ONCE, removeOne, options.signal)) {
    removed.push(garbage);
    if (options.dryRun) continue;
    options.onRemoved?.(garbage);
    options.onProgress?.("removed", removed.length, candidates.length);
  }
  return {
    run: readable.run.run,
    dry_run: options.dryRun,
    removed,
    bytes: removed.reduce((sum, { size }) => sum + size, 0),
    kept,
  };
}

/** The names and sizes of all data that commits name. @throws SluiceError `data` where a unit has no commit. */
async function readCommitted(
  { store, log }: ReadableRun,
  { signal, onProgress }: GcOptions,
): Promise<ReadonlyMap<string, number>> {
  const { committed, unitTotal } = log;
  if (committed < unitTotal)
    throw new SluiceError("data", `the run at ${store.uri} is not complete: nothing was removed`, {
      found: `${committed} of ${plural(unitTotal, "unit")} with a commit`,
      expected: "all of them, because a worker may still commit what looks like garbage now",
      fix: "Let extract finish first.",
      values: { committed, units: unitTotal },
    });
  const named = new Map<string, number>();
  let read = 0;
  for await (const commit of log.commits(signal)) {
    read += 1;
    onProgress?.("read", read, unitTotal);
    const name = dataName(commit);
    if (name !== null) named.set(name, commit.size);
  }
  return named;
}

/** Data objects of this run that no commit names, and notes that nobody needs any more. @throws SluiceError `data` where data that a commit names are not there. */
async function findOrphans(
  readable: ReadableRun,
  named: ReadonlyMap<string, number>,
  kept: GcReport["kept"][number][],
  signal: AbortSignal | undefined,
): Promise<Candidate[]> {
  const { store, run } = readable;
  const missing = new Map(named);
  const found: { stored: Stored; unit: Unit }[] = [];
  const candidates: Candidate[] = [];
  const keep = ({ name, size }: Stored, reason: string) => kept.push({ name, size, reason });
  for await (const stored of store.list("tpu_")) {
    signal?.throwIfAborted();
    if (missing.get(stored.name) === stored.size) missing.delete(stored.name);
    if (named.has(stored.name) || /\/(metadata|commits)\.json$/.test(stored.name)) continue;
    if (NOTE_NAME.test(stored.name)) {
      const { name, size, version } = stored;
      candidates.push({ name, size, kind: "note", remove: () => store.remove(name, version) });
      continue;
    }
    if (COMMIT_NAME.test(stored.name)) {
      if (!unitOfName(readable, COMMIT_NAME, stored.name)) keep(stored, "a commit of no unit of this run");
      continue;
    }
    const unit = unitOfName(readable, DATA_NAME, stored.name);
    if (unit) found.push({ stored, unit });
    else keep(stored, "not a name that this run gives");
  }
  for (const [name, size] of missing)
    if ((await store.head(name))?.size !== size)
      throw new SluiceError("data", `${store.uri}/${name} is not as its commit says: nothing was removed`, {
        expected: `${size} bytes`,
        fix: "See sluice verify; extract makes missing data again.",
        values: { name },
      });
  const look = async ({ stored, unit }: (typeof found)[number]) => ({
    stored,
    unit,
    id: await runOfData(store, stored),
  });
  for await (const { stored, unit, id } of mapAhead(found, AT_ONCE, look, signal)) {
    if (id === null) keep(stored, "it does not say of which run it is");
    else if (id !== run.run) keep(stored, `of another run, ${id.slice(0, 12)}`);
    else candidates.push(orphan(readable, unit, stored));
  }
  return candidates;
}

function orphan({ store, log }: ReadableRun, unit: Unit, { name, size, version }: Stored): Candidate {
  const remove = async () => {
    const commit = await log.read(unit);
    if (commit === null || dataName(commit) === name)
      throw new SluiceError("data", `the commit of ${unitName(unit)} changed while gc ran`, {
        found: commit === null ? "none" : `one that names ${name}`,
        fix: "Leave commits alone while gc runs, and start it again.",
      });
    await store.remove(name, version);
  };
  return { name, size, kind: "data", remove };
}

/** What workers leave besides data: leases, failures, heartbeats, temporary files, unfinished uploads. */
async function findLeavings(
  readable: ReadableRun,
  kept: GcReport["kept"][number][],
  { look, signal }: GcOptions,
): Promise<Candidate[]> {
  const { store } = readable;
  const beats: Stored[] = [];
  for await (const stored of store.list("workers/")) beats.push(stored);
  const workers = await readWorkers(store, look);
  const alive = new Set(workers.filter((w) => w.alive).map((w) => w.uuid));
  const known = new Set(workers.map((w) => w.uuid));
  const candidates: Candidate[] = [];
  const add = ({ name, size, version }: Stored, kind: GarbageKind) =>
    candidates.push({ name, size, kind, remove: () => store.remove(name, version) });
  const keep = ({ name, size }: Stored, reason: string) => kept.push({ name, size, reason });
  for (const stored of beats) {
    const uuid = stored.name.slice("workers/".length, -".json".length);
    if (!known.has(uuid)) keep(stored, "not a heartbeat that can be read");
    else if (!alive.has(uuid)) add(stored, "heartbeat");
  }
  const leases: Stored[] = [];
  for await (const stored of store.list("leases/")) leases.push(stored);
  const read = async (stored: Stored) => ({ stored, holder: await readHolder(store, stored.name) });
  for await (const { stored, holder } of mapAhead(leases, AT_ONCE, read, signal)) {
    if (FAILED_NAME.test(stored.name)) add(stored, "failure");
    else if (!LEASE_NAME.test(stored.name)) keep(stored, "not a name that this run gives");
    else if (holder === null || !alive.has(holder)) add(stored, "lease");
  }
  if (store.spool !== undefined) candidates.push(...(await findTemporaries(store.spool)));
  if (alive.size === 0) candidates.push(...(await findUploads(readable)));
  return candidates;
}

async function findTemporaries(folder: string): Promise<Candidate[]> {
  const candidates: Candidate[] = [];
  for await (const { path, size } of findAbandoned(folder, nodeFileSystem)) {
    const name = `.tmp/${path.slice(folder.length + 1)}`;
    const remove = () => nodeFileSystem.unlink(path).catch(() => {}); // A worker that started was quicker.
    candidates.push({ name, size, kind: "temporary", remove });
  }
  return candidates;
}

async function findUploads(readable: ReadableRun): Promise<Candidate[]> {
  const { uploads } = readable.store;
  const candidates: Candidate[] = [];
  if (!uploads) return candidates;
  for await (const upload of uploads.list("tpu_")) {
    if (unitOfName(readable, DATA_NAME, upload.name)) candidates.push(unfinished(uploads, upload));
  }
  return candidates;
}

function unfinished(uploads: NonNullable<Store["uploads"]>, upload: UnfinishedUpload): Candidate {
  return { name: upload.name, size: 0, kind: "upload", remove: () => uploads.abort(upload) };
}

/** The worker that a lease names; null where it cannot be read. */
async function readHolder(store: Store, name: string): Promise<string | null> {
  try {
    return leaseSchema.parse(parseJsonBytes(await store.read(name))).worker;
  } catch (error) {
    if (error instanceof SluiceError && error.kind !== "data") throw error;
    return null;
  }
}

/** The unit that a name's first two groups (stream, shard) say, where the run has it and would name it so. */
function unitOfName({ log }: ReadableRun, pattern: RegExp, name: string): Unit | null {
  const [, stream = "", shard = ""] = pattern.exec(name) ?? [];
  const unit = { stream: Number(stream), index: Number(shard) - 1 };
  if (shard === "" || unit.index < 0 || unit.index >= (log.unitCounts[unit.stream] ?? 0)) return null;
  const base = unitName(unit);
  const isOurs = name.startsWith(base) || name.startsWith(base.replace("/", "/alt/"));
  return isOurs ? log.unitAt(unit.stream, unit.index) : null;
}

/** The run whose data an object says it is; null where it says nothing that can be read. */
async function runOfData(store: Store, { name, size }: Stored): Promise<string | null> {
  try {
    const head = await store.read(name, { start: 0, end: Math.min(size, HEAD_BYTES) });
    if (name.endsWith(".pkl.gz")) {
      const comment = findFormat("pkl.gz").compression?.readComment(head);
      return /^sluice run (\S+) unit /.exec(comment ?? "")?.[1] ?? null;
    }
    const length = headerLength(head.subarray(0, 8), size, name);
    if (length > MAX_HEADER_BYTES) return null;
    const isWhole = length + 8 <= head.length;
    const json = isWhole
      ? head.subarray(8, 8 + length)
      : await store.read(name, { start: 8, end: 8 + length });
    const { metadata } = parseSafetensorsHeader(json, size, name);
    return z.string().safeParse(metadata.run).data ?? null;
  } catch (error) {
    if (error instanceof SluiceError && error.kind !== "data") throw error;
    return null;
  }
}
