// The copies of checkpoints that workers write side by side into one folder.

import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { CountingStore } from "../../test/fleet/counting-store.js";
import { commitOf, makeRun } from "../../test/fleet/made-run.js";
import { MemoryStore } from "../store/memory.js";
import { checkpointName } from "./derived.js";
import { DerivedFiles } from "./derived-files.js";
import { CommitLog } from "./log.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "sluice-derived-"));
});
afterAll(() => rm(folder, { recursive: true }));

it("workers of one id, and in containers of one pid, copy their checkpoint at the same moment", async () => {
  const { run, bytes } = makeRun(1, 1);
  const store = new MemoryStore();
  await store.replace(checkpointName(0), Buffer.from("{}"));
  const log = new CommitLog(store, run, bytes);
  const workers = Array.from(
    { length: 8 },
    () =>
      new DerivedFiles({
        ...{ store, run, log, workerId: 0, datasetPath: "d", modelPath: "m", checkpointDir: folder },
      }),
  );
  await Promise.all(workers.map((worker) => worker.finishCheckpoint()));
  expect(await readdir(folder)).toEqual(["checkpoint_worker_0.json"]);
});

it("of a stream that is shared, one worker reads the others' notes, and by name only what nobody has written down for a while", async () => {
  const { run, bytes } = makeRun(1, 40);
  const store = new CountingStore();
  await store.create("run.json", bytes);
  const open = (checkpointDir: string | undefined) => {
    const log = new CommitLog(store, run, bytes);
    const options = { store, run, log, workerId: 0, datasetPath: "d", modelPath: "m", checkpointDir };
    return { log, derived: new DerivedFiles(options) };
  };
  const [a, b, c] = [open(folder), open(undefined), open(undefined)];
  const commit = (from: number, to: number, { log } = b) =>
    Promise.all(
      Array.from({ length: to - from }, (_, i) => log.unitAt(0, from + i)).map((unit) =>
        log.commit(unit, commitOf(run, unit, "x")),
      ),
    );
  const asked = () => [store.requests["read notes"] ?? 0, store.requests["read commit"] ?? 0];
  const shards = async () => {
    const { total_shards: total } = JSON.parse(
      Buffer.from(await store.read("tpu_0/metadata.json")).toString(),
    );
    return total;
  };
  const isTheSame = async () =>
    expect(await readFile(join(folder, "checkpoint_worker_0.json"))).toEqual(
      Buffer.from(await store.read(checkpointName(0))),
    );
  await a.derived.write("running", []);
  await b.derived.write("running", []); // The files are A's to write.
  await commit(0, 5);
  await a.derived.write("running", []);
  await isTheSame();
  expect([await shards(), ...asked()], "they have only just been seen").toEqual([0, 0, 0]);
  await b.derived.write("running", []);
  await a.derived.write("running", []);
  await isTheSame();
  expect([await shards(), ...asked()], "they stand in a note").toEqual([5, 1, 0]);
  await commit(5, 7);
  await a.derived.write("running", []);
  await a.derived.write("running", []);
  await isTheSame();
  expect([await shards(), ...asked()], "two are too few for a note").toEqual([7, 1, 2]);

  // At the end all is there at once, whoever knows it.
  await commit(7, 19);
  await commit(19, 38, c);
  await commit(38, 40, a);
  await Promise.all([b.derived.writeNotes(), c.derived.writeNotes()]);
  await a.log.refresh();
  await a.derived.complete([], true);
  expect([await shards(), ...asked()]).toEqual([40, 3, 2]);
});
