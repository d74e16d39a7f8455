// A few seeds of the simulation (in full: test/long/simulation.test.ts), and that a seed is the whole history.

import { expect, it } from "vitest";
import { WORLD } from "./simulation/checker.js";
import { simulatedDataset } from "./simulation/datasets.js";
import { runSeed } from "./simulation/run-seed.js";
import { QuietFleet } from "./simulation/undisturbed.js";

it("keeps every promise in a few seeds", async () => {
  for (let seed = 0; seed < 15; seed++)
    expect(await runSeed(String(seed))).toMatchObject({ failure: undefined });
});

it("replays a seed exactly", async () => {
  const histories: string[][] = [];
  const hashes: string[] = [];
  for (const seed of ["17", "17", "18"]) {
    const lines: string[] = [];
    hashes.push((await runSeed(seed, { onLine: (line) => lines.push(line) })).historyHash);
    histories.push(lines);
  }
  expect(histories[0]?.length).toBeGreaterThan(100);
  expect(histories[1]).toEqual(histories[0]);
  expect(hashes[1]).toBe(hashes[0]);
  expect(hashes[2]).not.toBe(hashes[0]);
});

it.each([true, false])(
  "makes data of alt/ again whose usual name another object has (index.json: %s)",
  async (hasIndex) => {
    const fleet = new QuietFleet(await simulatedDataset(0));
    fleet.bucket.create("tpu_0/shard_0001.safetensors", Buffer.from("torn"), WORLD);
    await fleet.work(0);
    const [commit] = fleet.checker.commits.values();
    expect(commit?.data).toMatch(/^alt\//);
    fleet.bucket.remove(`tpu_0/${commit?.data}`, undefined, WORLD);
    if (!hasIndex) fleet.bucket.remove("index.json", undefined, WORLD);
    // Somebody fell asleep while he looked whether the run is whole.
    else fleet.bucket.create("leases/complete.0", Buffer.from('{"worker":"asleep","process":null}'), WORLD);
    expect(() => fleet.checker.checkEnd()).toThrow("is not there");
    await fleet.work(0);
    fleet.checker.checkEnd();
    expect(fleet.counts.of("repairs")).toBe(1);
  },
);
