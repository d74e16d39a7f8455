// Workers killed at random moments, and in each step of a unit, on the store that ships and with real processes: what is
// there in the end is, byte for byte, what a run gives that nobody killed. The seed is printed; SLUICE_SEED replays it.

import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, it } from "vitest";
import {
  type Ended,
  hashData,
  type Running,
  runSluice,
  smallRun,
  startSluice,
  temporaryFolder,
  tokenRecords,
  writeJsonl,
} from "../helpers.js";

/** Kills at random moments. */
const KILLS = Number(process.env.SLUICE_KILLS ?? 100);
/** How often a worker is killed in each step on purpose besides, by each signal. */
const KILLS_A_STEP = 2;
/** Of eight records each. */
const UNITS = 50;
const ANNOUNCE = new URL("./announce-steps.mjs", import.meta.url).href;

/** DESIGN.md, section 3: what a worker does for a unit, in order. `announce-steps.mjs` tells them apart. */
const STEPS = [
  "lease taken",
  "computing into the spool",
  "hashing the spooled shard",
  "data object created",
  "run.json looked at again",
  "commit created",
  "lease released",
  "derived files",
] as const;

type Signal = "SIGKILL" | "SIGTERM";

it(`survives ${KILLS} kills at random moments and some in every step of a unit, by SIGKILL and SIGTERM`, {
  timeout: 1_500_000,
}, async () => {
  const seed = Number(process.env.SLUICE_SEED ?? Date.now() % 1_000_000);
  console.log(`seed ${seed}`);
  const random = randomFrom(seed);
  const folder = await temporaryFolder();
  const dataset = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(8 * UNITS, seed));
  expect((await runSluice(smallRun(dataset, join(folder, "whole")))).code).toBe(0);
  const whole = await hashData(join(folder, "whole"));
  expect(Object.keys(whole)).toHaveLength(UNITS);

  const planned = STEPS.flatMap((step) =>
    (["SIGKILL", "SIGTERM"] as const).flatMap((signal) =>
      Array.from({ length: KILLS_A_STEP }, () => ({ step, signal })),
    ),
  );
  const histogram: Record<string, Record<Signal, number>> = {};
  let kills = 0;
  let inTheMiddle = 0;
  let missed = 0;
  for (let round = 0; kills < KILLS || planned.length > 0; round++) {
    const run = join(folder, `run-${round}`);
    for (let done = false; !done; ) {
      const isPlanned = planned.length > 0 && (kills >= KILLS || random() < 0.3);
      const plan = isPlanned ? planned.splice(Math.floor(random() * planned.length), 1)[0] : undefined;
      const steps = join(folder, `steps-${round}-${kills}-${planned.length}`);
      const env = {
        NODE_OPTIONS: `--import ${ANNOUNCE}`,
        SLUICE_TEST_STEPS: steps,
        ...(plan ? { SLUICE_TEST_HOLD: `${1 + Math.floor(random() * 3)} ${plan.step}` } : {}),
      };
      const worker = startSluice(smallRun(dataset, run), env);
      if (kills >= KILLS && planned.length === 0 && !plan) {
        expect(await worker.ended).toMatchObject({ code: 0 });
        break;
      }
      const gone = new AbortController();
      worker.ended.then(() => gone.abort());
      const moment = plan ? held(steps, gone.signal) : randomMoment(steps, random, gone.signal);
      const early = await Promise.race([worker.ended, moment]);
      const signal = plan?.signal ?? (random() < 0.5 ? "SIGKILL" : "SIGTERM");
      const step = plan?.step ?? (await lastStep(steps));
      const ended = early ?? (await kill(worker, signal));
      done = ended.code === 0;
      if (early) expect(early).toMatchObject({ code: 0 });
      if (early && plan) planned.push(plan); // The run was complete before it came to this step so often.
      if (early && plan && ++missed > 3 * KILLS) throw new Error(`no worker is ever held in: ${plan.step}`);
      if (done) continue;
      if (ended.signal === null) expect(ended).toMatchObject({ code: 75 });
      const name = step ?? "opening the run";
      histogram[name] ??= { SIGKILL: 0, SIGTERM: 0 };
      histogram[name][signal] += 1;
      if (plan) continue;
      kills += 1;
      if (await isInTheMiddle(run)) inTheMiddle += 1;
    }
    await expectWhole(run, whole);
  }
  console.log(
    `${kills} kills at random moments, ${inTheMiddle} of them between the first lease and the last commit; with those in`,
  );
  console.log("each step on purpose:");
  console.table(histogram);
  expect(inTheMiddle).toBeGreaterThanOrEqual(Math.floor(KILLS * 0.8));
  for (const step of STEPS) {
    for (const signal of ["SIGKILL", "SIGTERM"] as const)
      expect(histogram[step]?.[signal], `${signal} in: ${step}`).toBeGreaterThanOrEqual(KILLS_A_STEP);
  }
});

async function expectWhole(run: string, whole: Record<string, string>): Promise<void> {
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

/** Whether the first lease has been taken, and the last commit is still to come. */
async function isInTheMiddle(run: string): Promise<boolean> {
  const names = await readdir(run, { recursive: true }).catch(() => [] as string[]);
  const commits = names.filter((name) => /^tpu_\d+\/shard_\d+\.json$/.test(name)).length;
  return commits < UNITS && (commits > 0 || names.some((name) => /^leases\/tpu_.*\.\d+$/.test(name)));
}

/** The step that the worker has taken last, by its own word. */
async function lastStep(file: string): Promise<string | undefined> {
  return (await readFile(file, "utf8").catch(() => "")).trim() || undefined;
}

/** Resolves when the worker stays in the step in which it was told to stay. */
async function held(file: string, signal: AbortSignal): Promise<undefined> {
  while (!signal.aborted && !existsSync(`${file}.held`)) await sleep(5);
}

/** Resolves at a random moment: mostly while units are computed, now and then while the run is being opened. */
async function randomMoment(file: string, random: () => number, signal: AbortSignal): Promise<undefined> {
  if (random() < 0.1) return sleep(random() * 800, undefined);
  const isOpening = (step: string | undefined) => step === undefined || step === "derived files";
  while (!signal.aborted && isOpening(await lastStep(file))) await sleep(2);
  return sleep(random() * 400, undefined);
}

function kill(worker: Running, signal: Signal): Promise<Ended> {
  worker.child.kill(signal);
  return worker.ended;
}

function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}
