// Sweeps over the calls of a small run: one of them fails, or the power goes. What is left then must hold no torn commit,
// and a worker that starts on it must complete the run, to the bytes of one that nobody disturbed.

import { createHash } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isSluiceError } from "../src/base/errors.js";
import { randomNumbers } from "../src/base/random.js";
import type { ExtractOptions } from "../src/run/extract-options.js";
import {
  DiskJournal,
  type DiskState,
  everything,
  newestAlone,
  nothingElse,
  type Survival,
  writeState,
} from "../src/store/disk-journal.js";
import { type FaultKind, Faults, FaultyStore, faultyFileSystem, Killed } from "../src/store/faulty.js";
import { FileStore, TEMPORARY_FOLDER } from "../src/store/file.js";
import { type FileSystem, nodeFileSystem } from "../src/store/file-system.js";
import { MemoryStore } from "../src/store/memory.js";
import type { Body, Store, Stored } from "../src/store/store.js";
import { closeWorkshop, openWorkshop, type Workshop, work } from "./in-process.js";

const COMMIT = /^(tpu_\d+)\/shard_\d+\.json$/;
/** A worker that takes longer waits for ever. */
const PATIENCE_MS = 180_000;

/** So many times as fast goes a worker's clock: a lease time's wait is 6 s. No two workers live at once, so that none takes another for dead. */
const SPEED = 10;

/** The disk without the wait for it: a process that is killed needs no fsync, and a power cut is played from the journal. */
const disk: FileSystem = {
  ...nodeFileSystem,
  open: async (path, mode) => {
    const file = await nodeFileSystem.open(path, mode);
    const write = (bytes: Uint8Array, offset: number) => file.write(bytes, offset);
    return { write, sync: async () => {}, close: () => file.close() };
  },
  syncFolder: async () => {},
};

/** A small run, and what it comes to undisturbed. */
export interface Trial {
  readonly workshop: Workshop;
  /** Where runs may be made. */
  readonly folder: string;
  /** SHA-256 of every data object, by name. */
  readonly objects: Readonly<Record<string, string>>;
  readonly commits: number;
  /** What the run's folder holds before the first worker starts, and what is wrong with it then. */
  readonly start: DiskState;
  readonly damage: readonly string[];
  /** What an undisturbed worker calls: of its file system, and of its store. */
  readonly fileCalls: readonly string[];
  readonly storeCalls: readonly string[];
  /** The history of the disk. */
  readonly journal: DiskJournal;
  /** Numbers the runs. */
  next: number;
}

/**
 * Does the run once, undisturbed. @throws Error where the result is not whole.
 * @param damage makes of the whole run what the trial starts from; it starts from nothing without.
 */
export async function startTrial(
  options: Partial<ExtractOptions> = {},
  damage?: (whole: DiskState) => DiskState,
): Promise<Trial> {
  const folder = await mkdtemp(join(tmpdir(), "sluice-faults-"));
  const workshop = await openWorkshop(folder, options);
  const trial = await doOnce(workshop, folder, new Map());
  if (!damage) return trial;
  const start = damage(await stateOf(new FileStore(join(folder, "whole"))));
  await rm(join(folder, "whole"), { recursive: true });
  return doOnce(workshop, folder, start);
}

async function doOnce(workshop: Workshop, folder: string, start: DiskState): Promise<Trial> {
  const whole = join(folder, "whole");
  const journal = new DiskJournal(whole);
  await journal.plant(start);
  const files = new Faults();
  const calls = new Faults();
  const fs = faultyFileSystem(journal.record(disk), files);
  await workOn(workshop, whole, "whole", fs, new FaultyStore(new PromisingStore(whole, fs, journal), calls));
  const state = await stateOf(new FileStore(whole));
  const torn = findTorn(state);
  if (torn.length > 0) throw new Error(torn.join("; "));
  return {
    workshop,
    folder,
    objects: hashObjects(state),
    commits: countCommits(state),
    start,
    damage: findTorn(start),
    fileCalls: files.calls.map((call) => call.replace(`${whole}/`, "")),
    storeCalls: calls.calls,
    journal,
    next: 0,
  };
}

/** Makes all the trials, several at a time: they wait more than they compute. @returns everything that is wrong. */
export async function findWrong(trials: Iterable<() => Promise<string[]>>): Promise<string[]> {
  const wrong: string[] = [];
  const queue = trials[Symbol.iterator]();
  const lane = async () => {
    for (let next = queue.next(); !next.done; next = queue.next()) wrong.push(...(await next.value()));
  };
  await Promise.all(Array.from({ length: 6 }, lane));
  return wrong;
}

/** Ends a trial, and removes its folder. */
export async function endTrial(trial: Trial): Promise<void> {
  await closeWorkshop(trial.workshop);
  await rm(trial.folder, { recursive: true, force: true });
}

/** What is wrong after one of a worker's calls to its disk has failed, and another worker has gone on. */
export async function failFileCall(trial: Trial, at: number, kind: FaultKind): Promise<string[]> {
  const folder = join(trial.folder, `file-${trial.next++}`);
  await writeState(trial.start, folder);
  const faults = new Faults(at, kind);
  const fs = faultyFileSystem(disk, faults);
  const wrong = await findBadEnd(workOn(trial.workshop, folder, "first", fs));
  wrong.push(...(await goOn(trial, folder)));
  await rm(folder, { recursive: true, force: true });
  return wrong.map((what) => `${kind} ${faults.hit?.replace(`${folder}/`, "")} (call ${at}): ${what}`);
}

/** The same of a call to the store. */
export async function failStoreCall(
  trial: Trial,
  where: "file" | "memory",
  at: number,
  kind: FaultKind,
): Promise<string[]> {
  const folder = join(trial.folder, `store-${trial.next++}`);
  const store = where === "file" ? new FileStore(folder, disk) : new MemoryStore();
  for (const [name, bytes] of trial.start) await store.create(name, bytes);
  const faults = new Faults(at, kind);
  const faulty = new FaultyStore(store, faults);
  const wrong = await findBadEnd(workOn(trial.workshop, folder, "first", disk, faulty));
  wrong.push(...(await goOn(trial, folder, store)));
  await rm(folder, { recursive: true, force: true });
  return wrong.map((what) => `${kind} ${faults.hit} (call ${at}): ${what}`);
}

/**
 * What is wrong with the disk as a power cut may leave it, after so many effects of a journal.
 * @param isRestarted whether a worker is started on it, too.
 */
export async function cutPower(
  trial: Trial,
  journal: DiskJournal,
  point: number,
  survives: Survival,
  isRestarted: boolean,
): Promise<string[]> {
  const state = journal.stateAt(point, survives);
  const wrong = newlyTorn(trial, state);
  for (const name of journal.promisedAt(point))
    if (!state.has(name)) wrong.push(`${name} is lost, and was said to be durable`);
  if (isRestarted) {
    const folder = join(trial.folder, `power-${trial.next++}`);
    await writeState(state, folder);
    wrong.push(...(await goOn(trial, folder)));
    await rm(folder, { recursive: true, force: true });
  }
  return wrong.map((what) => `power cut after effect ${point}: ${what}`);
}

/**
 * A worker is killed between making a name and making it durable, and another goes on, while the machine stays up: their
 * common journal. @param linked the name. @param plant changes the file system under both: for bugs that ought to be seen.
 */
export async function journalOfTwo(
  trial: Trial,
  linked: string,
  plant: (fs: FileSystem) => FileSystem = (fs) => fs,
): Promise<DiskJournal> {
  const folder = join(trial.folder, `two-${trial.next++}`);
  const journal = new DiskJournal(folder);
  await journal.plant(trial.start);
  const recorded = plant(journal.record(disk));
  const isNext = (calls: readonly string[]) =>
    calls.includes(`link ${join(folder, linked)}`) &&
    calls.at(-1) === `syncFolder ${join(folder, linked, "..")}`;
  const first = new Faults(isNext, "killed");
  for (const [uuid, faults] of Object.entries({ first, second: new Faults() })) {
    const fs = faultyFileSystem(recorded, faults);
    const working = workOn(trial.workshop, folder, uuid, fs, new PromisingStore(folder, fs, journal));
    await working.catch((error: unknown) => {
      if (!(error instanceof Killed)) throw error;
    });
  }
  await rm(folder, { recursive: true });
  if (first.hit === undefined) throw new Error(`no worker was killed after the link of ${linked}`);
  return journal;
}

/** What a disk held after so many effects of the undisturbed run: a worker that was killed there. */
export function stoppedAt(trial: Trial, point: number): DiskState {
  return trial.journal.stateAt(point, everything);
}

/**
 * What is wrong after somebody has deleted files of a run, and a worker was started on what is left: it may complete the run, or say
 * that data are bad (65), but never end well while something is missing.
 */
export async function deleteFiles(
  trial: Trial,
  state: DiskState,
  isDeleted: (name: string) => boolean,
): Promise<string[]> {
  const folder = join(trial.folder, `deleted-${trial.next++}`);
  const gone = [...state.keys()].filter((name) => !name.endsWith("/") && isDeleted(name));
  await writeState(new Map([...state].filter(([name]) => !gone.includes(name))), folder);
  try {
    await workOn(trial.workshop, folder, "second", disk);
  } catch (error) {
    if (isSluiceError(error, "data")) return [];
    return [`after ${gone.join(", ")} had been deleted: ${error instanceof Error ? error.stack : error}`];
  }
  const left = await stateOf(new FileStore(folder, disk));
  await rm(folder, { recursive: true, force: true });
  const wrong = findTorn(left);
  if (JSON.stringify(hashObjects(left)) !== JSON.stringify(trial.objects)) wrong.push("the data are others");
  if (countCommits(left) !== trial.commits) wrong.push(`${countCommits(left)} of ${trial.commits} commits`);
  if (!left.has("index.json")) wrong.push("no index");
  return wrong.map((what) => `after ${gone.join(", ")} had been deleted: ${what}`);
}

/** Of what was not made durable, a random part survives. */
export function randomSurvival(seed: number): Survival {
  const random = randomNumbers(`power cut ${seed}`);
  const share = [0.2, 0.5, 0.8][seed % 3] ?? 0.5;
  const fates: ReturnType<Survival>[] = [];
  return (effect) => {
    while (fates.length <= effect) {
      const isKept = random() / 2 ** 32 < share;
      fates.push(isKept ? "kept" : random() % 2 === 0 ? "zeros" : "lost");
    }
    return fates[effect] ?? "lost";
  };
}

/** The three plain ones, the worst first, and some random ones. */
export function survivals(random: number): Survival[] {
  return [
    nothingElse,
    newestAlone,
    everything,
    ...Array.from({ length: random }, (_, i) => randomSurvival(i)),
  ];
}

/** What is wrong with the commits of a state: torn, or naming data that is not there as committed. Shares no code with what it tests. */
export function findTorn(state: DiskState): string[] {
  const wrong: string[] = [];
  for (const [path, bytes] of state) {
    const [, folder] = COMMIT.exec(path) ?? [];
    if (folder === undefined) continue;
    try {
      const { data, size, sha256, run } = JSON.parse(Buffer.from(bytes).toString());
      if (typeof run !== "string") wrong.push(`${path} is no commit`);
      if (data === null) continue;
      const object = state.get(`${folder}/${data}`);
      if (!object) wrong.push(`${path}: its data ${data} is missing`);
      else if (object.length !== size || sha256Of(object) !== sha256)
        wrong.push(`${path}: its data ${data} is torn`);
    } catch {
      wrong.push(`${path}, ${bytes.length} bytes, is torn`);
    }
  }
  return wrong;
}

function newlyTorn(trial: Trial, state: DiskState): string[] {
  return findTorn(state).filter((what) => !trial.damage.includes(what));
}

/** What is wrong with a run that was left unfinished, and after another worker was started on it. */
async function goOn(
  trial: Trial,
  folder: string,
  store: Store = new FileStore(folder, disk),
): Promise<string[]> {
  const torn = newlyTorn(trial, await stateOf(store));
  if (torn.length > 0) return torn;
  try {
    await workOn(trial.workshop, folder, "second", disk, store);
  } catch (error) {
    return [`the next worker fails: ${error instanceof Error ? error.stack : error}`];
  }
  const state = await stateOf(store);
  const wrong = findTorn(state);
  if (countCommits(state) !== trial.commits)
    wrong.push(`${countCommits(state)} commits, expected ${trial.commits}`);
  const [found, expected] = [hashObjects(state), trial.objects].map((objects) => JSON.stringify(objects));
  if (found !== expected) wrong.push(`the data is ${found}, expected ${expected}`);
  return wrong;
}

/** A worker whose call failed may complete the run, say that the store is at fault, or be killed: nothing else. */
async function findBadEnd(working: Promise<unknown>): Promise<string[]> {
  try {
    await working;
    return [];
  } catch (error) {
    if (error instanceof Killed || isSluiceError(error, "store")) return [];
    return [`the worker ends with ${error instanceof Error ? error.stack : error}`];
  }
}

async function workOn(
  workshop: Workshop,
  folder: string,
  uuid: string,
  fs: FileSystem,
  store: Store = new FileStore(folder, fs),
): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const tooLong = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error("the worker waits for ever")), PATIENCE_MS);
  });
  const working = work(workshop, { store, spool: join(folder, TEMPORARY_FOLDER), fs, uuid, speed: SPEED });
  await Promise.race([working, tooLong]).finally(() => clearTimeout(timer));
}

/** A store that tells a journal which objects it said were durable. Leases are no promise. */
class PromisingStore extends FileStore {
  readonly #journal: DiskJournal;

  constructor(folder: string, fs: FileSystem, journal: DiskJournal) {
    super(folder, fs);
    this.#journal = journal;
  }

  override async create(
    name: string,
    body: Body,
    options?: { signal?: AbortSignal },
  ): Promise<Stored | "exists"> {
    const stored = await super.create(name, body, options);
    if (!name.startsWith("leases/")) this.#journal.promise(name);
    return stored;
  }
}

async function stateOf(store: Store): Promise<DiskState> {
  const state = new Map<string, Uint8Array>();
  for await (const { name } of store.list("")) state.set(name, await store.read(name));
  return state;
}

function countCommits(state: DiskState): number {
  return [...state.keys()].filter((path) => COMMIT.test(path)).length;
}

function hashObjects(state: DiskState): Record<string, string> {
  const objects = [...state].filter(([path]) => /^tpu_.*\.(safetensors|pkl\.gz)$/.test(path)).sort();
  return Object.fromEntries(objects.map(([path, bytes]) => [path, sha256Of(bytes)]));
}

function sha256Of(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
