// Many workers under every fault, on a virtual clock: a thousand seeds; that what should happen now and then did happen; and
// that the checker sees bugs that are planted.

import { expect, it } from "vitest";
import { Counts } from "../simulation/counts.js";
import { PLANTED_BUGS } from "../simulation/planted-bugs.js";
import { runSeed } from "../simulation/run-seed.js";

const SEEDS = 1000;

it(`keeps every promise in ${SEEDS} seeds, and every kind of fault strikes in them`, async () => {
  const counts = new Counts();
  const failures: string[] = [];
  const started = performance.now();
  let events = 0;
  for (let seed = 0; seed < SEEDS; seed++) {
    const result = await runSeed(String(seed));
    counts.merge(result.counts.values);
    events += result.events;
    if (result.failure !== undefined)
      failures.push(`npm run simulate -- --seed ${seed} --trace: ${result.failure}`);
  }
  const seconds = (performance.now() - started) / 1000;
  process.stdout.write(`${counts.table()}\n${SEEDS} seeds, ${events} events in ${seconds.toFixed(0)} s\n`);
  expect(failures).toEqual([]);
  expect(counts.missing()).toEqual([]);
});

it.each(Object.keys(PLANTED_BUGS))("would see that %s", async (name) => {
  const bug = PLANTED_BUGS[name];
  for (let seed = 0; seed < SEEDS; seed++) {
    const { failure } = await runSeed(String(seed), bug?.options);
    if (failure === undefined) continue;
    expect(failure).toMatch(bug?.seen ?? "");
    return;
  }
  expect.unreachable(`${SEEDS} seeds saw nothing`);
});
