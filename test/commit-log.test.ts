// What a worker knows of others' commits, and what it takes to know it.

import { expect, it } from "vitest";
import { unitAt } from "../src/plan/unit.js";
import { encodeCommit } from "../src/run/commit.js";
import { encodeNote } from "../src/run/commit-notes.js";
import { CommitLog, commitName } from "../src/run/log.js";
import { CountingStore } from "./fleet/counting-store.js";
import { commitOf, dataOf, makeRun, RECORDS_A_SHARD } from "./fleet/made-run.js";

const UNITS = 800;
const { run, bytes } = makeRun(3, UNITS);
const unitOf = (stream: number, index: number) =>
  unitAt(stream, index, UNITS * RECORDS_A_SHARD, RECORDS_A_SHARD);

/** A store with the commits and data of all units that are wanted. */
function fill(isWanted: (stream: number, index: number) => boolean): CountingStore {
  const store = new CountingStore();
  for (let stream = 0; stream < 3; stream++)
    for (let index = 0; index < UNITS; index++) {
      if (!isWanted(stream, index)) continue;
      const unit = unitOf(stream, index);
      store.fill(commitName(unit), encodeCommit(commitOf(run, unit, "a")));
      store.fill(commitName(unit).replace(/json$/, "safetensors"), dataOf(unit));
    }
  return store;
}

it("looks at open units with the fewest requests: by name where they are few, else by the pages of their streams", async () => {
  const store = fill((stream, index) => stream === 0 || index >= (stream === 1 ? 1 : 300));
  const log = new CommitLog(store, run, bytes);
  await log.refresh();
  expect(log.committed).toBe(3 * UNITS - 301);
  expect(store.requests).toEqual({ list: 5 });
  for (const [stream, index] of [
    [1, 0],
    [2, 7],
  ] as const)
    store.fill(commitName({ stream, index }), encodeCommit(commitOf(run, unitOf(stream, index), "b")));
  expect(await log.lookAtOpen()).toBe(3);
  expect(log.committed).toBe(3 * UNITS - 299);
  expect(store.requests).toEqual({ list: 5 + 2, "head commit": 1 });
  expect(await log.lookAtOpen({ except: ({ stream }) => stream === 2 })).toBe(0);
  expect(store.requests).toEqual({ list: 7, "head commit": 1 });
});

it("finds missing data by names alone, and reads only commits whose data has another name", async () => {
  const store = fill(() => true);
  const gone = await store.head("tpu_1/shard_0003.safetensors");
  if (gone) await store.remove(gone.name, gone.version);
  const unit = unitOf(2, 5);
  const alternative = "alt/shard_0006-0a1b2c3d.safetensors";
  store.fill(commitName(unit), encodeCommit({ ...commitOf(run, unit, "a"), data: alternative }));
  const usual = await store.head("tpu_2/shard_0006.safetensors");
  if (usual) await store.remove(usual.name, usual.version);
  store.fill(`tpu_2/${alternative}`, dataOf(unit));
  const log = new CommitLog(store, run, bytes);
  await log.refresh();
  expect(await log.findMissingNames(".safetensors")).toEqual([unitOf(1, 2)]);
  expect(store.requests["read commit"]).toBe(2);
});

it("believes what was written down of commits only where they are the very objects that are there", async () => {
  const store = fill((stream) => stream === 0);
  const writer = new CommitLog(store, run, bytes);
  await writer.refresh();
  const described = await writer.describeCommits(0);
  expect(described).toHaveLength(UNITS);
  // One was made again since, with other data.
  const unit = unitOf(0, 9);
  const again = { ...commitOf(run, unit, "b"), sha256: "1".repeat(64) };
  store.fill(commitName(unit), encodeCommit(again));
  const reader = new CommitLog(store, run, bytes);
  await reader.refresh();
  store.requests["read commit"] = 0;
  reader.trust(described);
  expect(reader.countUnread()).toBe(1);
  const summaries = (await reader.summarise()).of(0);
  expect(store.requests["read commit"]).toBe(1);
  expect(summaries[9]?.sha256).toBe(again.sha256);
  expect(summaries[8]).toEqual((await writer.summarise()).of(0)[8]);
});

it("takes commits from the notes of those who made them, where they are the very objects that are there", async () => {
  const store = new CountingStore();
  const writer = new CommitLog(store, run, bytes);
  const reader = new CommitLog(store, run, bytes);
  await store.create("run.json", bytes);
  const commit = async (index: number) => {
    const one = { ...commitOf(run, unitOf(1, index), `attempt ${index}`), tokens: index };
    expect(await writer.commit(unitOf(1, index), one)).toBe("committed");
  };
  for (const index of [4, 2]) await commit(index);
  expect(writer.notes.keptStreams, "fewer than three are not worth it").toEqual([]);
  for (let index = 10; index < 60; index++) await commit(index);
  expect(writer.notes.keptStreams).toEqual([1]);
  await writer.notes.write(1, () => "0a1b");
  expect(writer.notes.keptStreams, "once").toEqual([]);
  expect(store.requests["create notes"]).toBe(1);
  // One is made again since; the others' notes are no such things, or of another run.
  const again = { ...commitOf(run, unitOf(1, 11), "b"), tokens: 7_000 };
  store.fill(commitName(unitOf(1, 11)), encodeCommit(again));
  const made = { version: (await store.head(commitName(unitOf(1, 12))))?.version ?? "" };
  const foreign = { ...commitOf(run, unitOf(1, 12), "b"), run: "another", tokens: 9_000 };
  store.fill("tpu_1/commits/00.json", encodeNote([{ ...made, bytes: encodeCommit(foreign) }]));
  store.fill("tpu_1/commits/01.json", Buffer.from("{}"));
  store.fill("tpu_1/commits/02.json", Buffer.alloc(3 << 20));

  await reader.refresh();
  expect(reader.notes.countUnread(1), "what is too large is not read").toBe(3);
  expect(reader.countUnread(1)).toBe(52);
  const summaries = (await reader.foldStatistics(1)).of(1);
  expect(store.requests).toMatchObject({ "read notes": 3, "read commit": 1 });
  const indices = [2, 4, ...Array.from({ length: 50 }, (_, i) => i + 10)];
  expect(summaries.map(({ unit, tokens }) => [unit, tokens])).toEqual(
    indices.map((index) => [index, index === 11 ? 7_000 : index]),
  );
  await reader.refresh();
  expect(reader.notes.countUnread(1), "each is read once").toBe(0);
});

it("reads the commits themselves where a note has gone", async () => {
  const store = fill((stream, index) => stream === 0 && index < 5);
  const log = new CommitLog(store, run, bytes);
  store.fill("tpu_0/commits/0a.json", encodeNote([]));
  await log.refresh();
  const there = await store.head("tpu_0/commits/0a.json");
  if (there) await store.remove(there.name, there.version);
  expect((await log.summarise()).of(0)).toHaveLength(5);
  expect(store.requests).toMatchObject({ "read notes": 1, "read commit": 5 });
});

it("keeps what could not be written down, and cuts what is much into notes of a megabyte", async () => {
  const store = new CountingStore();
  await store.create("run.json", bytes);
  const log = new CommitLog(store, run, bytes);
  const reason = "r".repeat(200_000);
  for (let index = 0; index < 12; index++) {
    const skipped = [{ record: 0, id: "0", reason }];
    await log.commit(unitOf(0, index), { ...commitOf(run, unitOf(0, index), "a"), skipped });
  }
  const create = store.create.bind(store);
  store.create = async () => {
    throw new Error("no store");
  };
  await expect(log.notes.write(0, () => "0a")).rejects.toThrow("no store");
  store.create = create;
  let names = 0;
  await log.notes.write(0, () => `0b${names++}`);
  expect(store.requests["create notes"]).toBe(3);
  const reader = new CommitLog(store, run, bytes);
  await reader.refresh();
  expect((await reader.summarise()).of(0)).toHaveLength(12);
  expect(store.requests["read commit"] ?? 0).toBe(0);
});
