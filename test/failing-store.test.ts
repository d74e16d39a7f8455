// A worker that cannot store what it computed ends at once, with the cause, and blames no unit.

import { expect, it } from "vitest";
import { EngineFailure, type UnitRunner } from "../src/run/engine-process.js";
import { Faults, FaultyStore } from "../src/store/faulty.js";
import { MemoryStore } from "../src/store/memory.js";
import { temporaryFolder } from "./helpers.js";
import { closeWorkshop, openWorkshop, work } from "./in-process.js";

it("does not wait for the unit that is being computed meanwhile", async () => {
  const folder = await temporaryFolder();
  const workshop = await openWorkshop(folder);
  const store = new MemoryStore();
  const faults = new Faults((calls) => calls.at(-1) === "create tpu_0/shard_0001.safetensors", "refused");
  /** An engine whose second unit takes for ever, unless it is stopped. */
  const endless = (runner: UnitRunner): UnitRunner => {
    let units = 0;
    let end = () => {};
    return {
      start: () => runner.start(),
      compute: (...job) =>
        units++ === 0
          ? runner.compute(...job)
          : new Promise((_, reject) => {
              end = () => reject(new EngineFailure("the engine's process died: signal SIGKILL"));
            }),
      stop: async () => end(),
    };
  };
  await expect(
    work(workshop, { store: new FaultyStore(store, faults), spool: folder, uuid: "a", wrap: endless }),
  ).rejects.toThrow("cannot be reached");
  expect(faults.hit).toBe("create tpu_0/shard_0001.safetensors");
  const left: string[] = [];
  for await (const { name } of store.list("leases/")) left.push(name);
  expect(left, "no lease, and no failed attempt").toEqual([]);
  await closeWorkshop(workshop);
});
