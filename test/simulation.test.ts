// A few seeds of the simulation (in full: test/integration/simulation.test.ts), and that a seed is the whole history.

import { expect, it } from "vitest";
import { runSeed } from "./simulation/run-seed.js";

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
