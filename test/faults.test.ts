// Every call of a small run fails once, and the power goes at every point. This is a part of the sweeps, a few seconds
// long; test/long/faults*.test.ts do all of them.

import { afterAll, beforeAll, expect, it } from "vitest";
import type { DiskJournal } from "../src/store/disk-journal.js";
import type { FaultKind } from "../src/store/faulty.js";
import type { FileSystem } from "../src/store/file-system.js";
import {
  cutPower,
  endTrial,
  failFileCall,
  failStoreCall,
  findWrong,
  journalOfTwo,
  startTrial,
  survivals,
  type Trial,
} from "./fault-sweep.js";

/** Of the calls to the disk one in so many fails. */
const STRIDE = 24;
const FILE_FAULTS: readonly FaultKind[] = ["refused", "lost", "full", "killed"];
const STORE_FAULTS: readonly FaultKind[] = ["refused", "lost", "repeated"];

let trial: Trial;
beforeAll(async () => {
  trial = await startTrial();
});
afterAll(() => endTrial(trial));

it("the small run has every kind of unit, and makes over 200 calls to its disk", () => {
  expect(trial.commits).toBe(3);
  expect(Object.keys(trial.objects)).toEqual([
    "tpu_0/shard_0001.safetensors",
    "tpu_0/shard_0002.safetensors",
  ]);
  expect(trial.fileCalls.length).toBeGreaterThan(200);
  expect(trial.storeCalls.length).toBeGreaterThan(45);
});

it("a fault in a call to the disk tears no commit, and the next worker completes the run", async () => {
  const calls = range(trial.fileCalls.length).filter((at) => at % STRIDE === 0);
  const trials = calls.map(
    (at) => () => failFileCall(trial, at, FILE_FAULTS[(at / STRIDE) % FILE_FAULTS.length] ?? "lost"),
  );
  expect(await findWrong(trials)).toEqual([]);
});

it("a fault in a call to the store tears no commit, and the next worker completes the run", async () => {
  const calls = range(trial.storeCalls.length).filter((at) => at % 2 === 0);
  const trials = calls.map(
    (at) => () => failStoreCall(trial, "memory", at, STORE_FAULTS[at % STORE_FAULTS.length] ?? "lost"),
  );
  expect(await findWrong(trials)).toEqual([]);
});

it("a power cut at any point tears no commit, and loses nothing that was said to be durable", async () => {
  const { journal } = trial;
  const states = survivals(5).flatMap((survives, i) =>
    pointsOf(journal).map(
      (point) => () => cutPower(trial, journal, point, survives, i === 0 && point % 16 === 0),
    ),
  );
  expect(await findWrong(states)).toEqual([]);
});

it("nor where a worker was killed before, and another took over what was not durable yet", async () => {
  for (const linked of ["tpu_0/shard_0001.safetensors", "tpu_0/shard_0001.json"])
    expect(await cutEverywhere(await journalOfTwo(trial, linked))).toEqual([]);
});

it.each<[string, (fs: FileSystem) => FileSystem]>([
  [
    "does not sync files",
    (fs) => ({ ...fs, open: async (path, mode) => withoutSync(await fs.open(path, mode)) }),
  ],
  ["does not sync folders", (fs) => ({ ...fs, syncFolder: async () => {} })],
])("would see a store that %s", async (_, plant) => {
  const journal = await journalOfTwo(trial, "tpu_0/shard_0001.safetensors", plant);
  expect((await cutEverywhere(journal)).length).toBeGreaterThan(10);
});

function cutEverywhere(journal: DiskJournal): Promise<string[]> {
  return findWrong(
    survivals(5).flatMap((survives) =>
      pointsOf(journal).map((point) => () => cutPower(trial, journal, point, survives, false)),
    ),
  );
}

/** After how many effects the power goes. */
function pointsOf(journal: DiskJournal): number[] {
  return range(journal.length + 1).filter((point) => point >= journal.start);
}

function range(length: number): number[] {
  return Array.from({ length }, (_, i) => i);
}

function withoutSync(file: Awaited<ReturnType<FileSystem["open"]>>): typeof file {
  return { write: (bytes, at) => file.write(bytes, at), sync: async () => {}, close: () => file.close() };
}
