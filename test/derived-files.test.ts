// What people and scripts read beside the commits is of the run as it is, whoever wrote it last before.

import { expect, it } from "vitest";
import { MemoryStore } from "../src/store/memory.js";
import { temporaryFolder } from "./helpers.js";
import { closeWorkshop, openWorkshop, work } from "./in-process.js";

it("at completion, what a worker left of an earlier moment is written again", async () => {
  const folder = await temporaryFolder();
  const workshop = await openWorkshop(folder);
  const store = new MemoryStore();
  const read = async (name: string) => JSON.parse(Buffer.from(await store.read(name)).toString());
  await work(workshop, { store, spool: folder, uuid: "first" });
  const files = ["tpu_1/metadata.json", "checkpoints/checkpoint_worker_1.json"];
  const right = await Promise.all(files.map(read));
  expect(right).toMatchObject([{ total_records: 2 }, { last_processed_sample_idx: 1, status: "complete" }]);
  // A worker of stream 1 that knew of no commit, and was killed after it had said so.
  const stale = [
    { ...right[0], total_records: 0 },
    { ...right[1], last_processed_sample_idx: -1, status: "running" },
  ];
  for (const [i, name] of files.entries())
    await store.replace(name, Buffer.from(JSON.stringify(stale[i], null, 1)));
  await work(workshop, { store, spool: folder, uuid: "second" });
  expect(await Promise.all(files.map(read))).toEqual(right);
  await closeWorkshop(workshop);
});
