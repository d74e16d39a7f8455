// Workers killed at random moments, on the store that ships and with real processes: what is there in the end is, byte for
// byte, what a run gives that nobody killed. The seed is printed; SLUICE_SEED replays it.

import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, it } from "vitest";
import {
  hashData,
  listCommits,
  runSluice,
  smallRun,
  startSluice,
  temporaryFolder,
  tokenRecords,
  writeJsonl,
} from "../helpers.js";

const KILLS = Number(process.env.SLUICE_KILLS ?? 100);

/** Where the worker was when it was killed, by what it left behind. */
async function stepOf(run: string, before: number): Promise<string> {
  const names = await readdir(run, { recursive: true }).catch(() => [] as string[]);
  const commits = names.filter((name) => /^tpu_\d+\/shard_\d+\.json$/.test(name)).length;
  const data = names.filter((name) => /^tpu_\d+\/shard_\d+\.safetensors$/.test(name)).length;
  if (!names.includes("run.json")) return "before the run exists";
  if (data > commits) return "between data and commit";
  if (names.some((name) => name.startsWith(".tmp/") && name.endsWith(".shard")))
    return "while a shard is computed or hashed";
  if (names.some((name) => /^leases\/tpu_/.test(name) && /\.\d+$/.test(name)))
    return "with a lease and no shard";
  return commits === before ? "before the first lease" : "between units";
}

it(`survives ${KILLS} kills, by SIGKILL and SIGTERM`, { timeout: 1_500_000 }, async () => {
  const seed = Number(process.env.SLUICE_SEED ?? Date.now() % 1_000_000);
  console.log(`seed ${seed}`);
  let state = seed;
  const random = () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
  const folder = await temporaryFolder();
  const dataset = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(400, seed));
  expect((await runSluice(smallRun(dataset, join(folder, "whole")))).code).toBe(0);
  const whole = await hashData(join(folder, "whole"));
  expect(Object.keys(whole)).toHaveLength(50);
  const histogram: Record<string, number> = {};
  let kills = 0;
  let inTheMiddle = 0;
  for (let round = 0; kills < KILLS; round++) {
    const run = join(folder, `run-${round}`);
    for (let done = false; !done; ) {
      const before = (await listCommits(run)).length;
      const worker = startSluice(smallRun(dataset, run));
      const signal = random() < 0.5 ? "SIGKILL" : "SIGTERM";
      const patience = before === 0 && random() < 0.1 ? random() * 500 : 500 + random() * 900;
      const early = await Promise.race([worker.ended, sleep(patience)]);
      if (early) {
        expect(early).toMatchObject({ code: 0 });
        done = true;
        continue;
      }
      worker.child.kill(signal);
      const step = await stepOf(run, before);
      const ended = await worker.ended;
      if (ended.code === 0) {
        done = true;
        continue;
      }
      if (signal === "SIGTERM" && ended.signal === null) expect(ended).toMatchObject({ code: 75 });
      histogram[`${step} (${signal})`] = (histogram[`${step} (${signal})`] ?? 0) + 1;
      kills += 1;
      if (!step.startsWith("before")) inTheMiddle += 1;
    }
    expect(await hashData(run)).toEqual(whole);
    const report = JSON.parse((await runSluice(["verify", run, "--deep", "--json"])).stdout);
    expect(report).toMatchObject({
      complete: true,
      records: 400,
      expected: 400,
      samples: 400,
      missing: [],
      duplicated: [],
      corrupt: [],
    });
    const left = (await readdir(run, { recursive: true })).filter((name) => name.startsWith(".tmp/"));
    expect(left, "the last start cleaned what the dead left").toEqual([]);
    expect((await readFile(join(run, "index.json"))).length).toBeGreaterThan(100);
  }
  console.log(`${kills} kills, ${inTheMiddle} between the first lease and the last commit:`, histogram);
  expect(inTheMiddle).toBeGreaterThanOrEqual(Math.floor(KILLS * 0.8));
});
