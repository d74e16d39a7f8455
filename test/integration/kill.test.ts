// Workers killed at random moments, and in each step of a unit, on the store that ships and with real processes: what is
// there in the end is, byte for byte, what a run gives that nobody killed. The seed is printed; SLUICE_SEED replays it.

import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, it } from "vitest";
import { announceIn, Hold, STEPS } from "../held.js";
import {
  hashData,
  runSluice,
  smallRun,
  startSluice,
  temporaryFolder,
  tokenRecords,
  until,
  writeJsonl,
} from "../helpers.js";

/** Kills at random moments. */
const KILLS = Number(process.env.SLUICE_KILLS ?? 100);
/** Of these, as many at least between the first lease and the last commit: it goes on until there are, and says where there are none. */
const IN_THE_MIDDLE = Math.floor(KILLS * 0.8);
/** How often a worker is killed in each step on purpose besides, by each signal. */
const KILLS_A_STEP = 2;
/** Of eight records each. */
const UNITS = 50;
type Signal = "SIGKILL" | "SIGTERM";

it(`survives ${KILLS} kills at random moments and some in every step of a unit, by SIGKILL and SIGTERM`, {
  timeout: 1_500_000,
}, async () => {
  const seed = Number(process.env.SLUICE_SEED ?? Date.now() % 1_000_000);
  console.log(`seed ${seed}`);
  const random = randomFrom(seed);
  const folder = await temporaryFolder();
  const dataset = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(8 * UNITS, seed));
  const pace = await measurePace(smallRun(dataset, join(folder, "whole")), join(folder, "steps"));
  console.log(
    `undisturbed: ${pace.opening.toFixed(0)} ms until the first unit, ${pace.working.toFixed(0)} ms from there`,
  );
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
  const isEnough = () => kills >= KILLS && inTheMiddle >= IN_THE_MIDDLE;
  for (let round = 0; !isEnough() || planned.length > 0; round++) {
    const run = join(folder, `run-${round}`);
    for (let done = false; !done; ) {
      const isPlanned = planned.length > 0 && (isEnough() || random() < 0.3);
      const plan = isPlanned ? planned.splice(Math.floor(random() * planned.length), 1)[0] : undefined;
      const steps = join(folder, `steps-${round}-${kills}-${planned.length}`);
      const hold = plan && new Hold(steps, plan.step, 1 + Math.floor(random() * 3));
      const worker = startSluice(smallRun(dataset, run), hold?.env ?? announceIn(steps));
      if (isEnough() && planned.length === 0 && !plan) {
        expect(await worker.ended).toMatchObject({ code: 0 });
        break;
      }
      const gone = new AbortController();
      worker.ended.then(() => gone.abort());
      const moment = hold
        ? hold.reached(worker).catch((error) => {
            if (!gone.signal.aborted) throw error; // It has not ended before.
          })
        : randomMoment(steps, pace, random, gone.signal);
      await Promise.race([worker.ended, moment]);
      const early = gone.signal.aborted ? await worker.ended : undefined;
      const signal = plan?.signal ?? (random() < 0.5 ? "SIGKILL" : "SIGTERM");
      const step = plan?.step ?? (await lastStep(steps));
      if (!early) worker.child.kill(signal);
      hold?.release();
      const ended = await worker.ended;
      done = ended.code === 0;
      if (early) expect(early, early.stderr).toMatchObject({ code: 0 });
      if (early && plan) planned.push(plan); // The run was complete before it came to this step so often.
      if (early && plan && ++missed > 3 * KILLS) throw new Error(`no worker is ever held in: ${plan.step}`);
      if (early || (done && !plan)) continue; // Told in its last step, a worker may end well: that is counted.
      if (ended.signal === null && !done) expect(ended, ended.stderr).toMatchObject({ code: 75 });
      const name = step ?? "opening the run";
      histogram[name] ??= { SIGKILL: 0, SIGTERM: 0 };
      histogram[name][signal] += 1;
      if (plan) continue;
      kills += 1;
      if (await isInTheMiddle(run)) inTheMiddle += 1;
      if (kills > 3 * KILLS)
        throw new Error(`of ${kills} kills only ${inTheMiddle} came in the middle of a run`);
    }
    await expectWhole(run, whole);
  }
  console.log(
    `${kills} kills at random moments, ${inTheMiddle} of them between the first lease and the last commit; with those in`,
  );
  console.log("each step on purpose:");
  console.table(histogram);
  expect(inTheMiddle).toBeGreaterThanOrEqual(IN_THE_MIDDLE);
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

/** Milliseconds that a run takes nobody disturbs: on another machine, or a busy one, they are others. */
interface Pace {
  /** From the start to the first unit. */
  readonly opening: number;
  /** From the first unit to the end. */
  readonly working: number;
}

const isOpening = (step: string | undefined) =>
  step === undefined || step === "looking at the dataset" || step === "derived files";

async function measurePace(flags: readonly string[], steps: string): Promise<Pace> {
  const started = performance.now();
  const worker = startSluice(flags, announceIn(steps));
  await until(async () => !isOpening(await lastStep(steps)), worker);
  const begun = performance.now();
  expect(await worker.ended).toMatchObject({ code: 0 });
  return { opening: begun - started, working: performance.now() - begun };
}

/** Resolves at a random moment: mostly while units are computed, now and then while the run is being opened. */
async function randomMoment(
  file: string,
  { opening, working }: Pace,
  random: () => number,
  signal: AbortSignal,
): Promise<undefined> {
  if (random() < 0.1) return sleep(random() * 1.2 * opening, undefined);
  await until(async () => signal.aborted || !isOpening(await lastStep(file)), undefined, "a unit is begun");
  return sleep(random() * 0.2 * working, undefined);
}

function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}
