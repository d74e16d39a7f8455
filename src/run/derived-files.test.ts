// The copies of checkpoints that workers write side by side into one folder.

import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { makeRun } from "../../test/fleet/made-run.js";
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
