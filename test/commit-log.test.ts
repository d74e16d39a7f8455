// What a worker knows of others' commits, and what it takes to know it.

import { expect, it } from "vitest";
import { unitAt } from "../src/plan/unit.js";
import { encodeCommit } from "../src/run/commit.js";
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
