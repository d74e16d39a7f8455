// Many processes on one output folder: shared work, sleepers, signals to whole process groups, engines that die.

import { existsSync } from "node:fs";
import { cp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { Hold } from "../held.js";
import {
  BUNDLED_MODEL,
  type Ended,
  hashData,
  listCommits,
  type Running,
  runSluice,
  smallRun,
  startProgram,
  startSluice,
  TINY_MODEL,
  temporaryFolder,
  tokenRecords,
  until,
  writeJsonl,
} from "../helpers.js";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

const COUNTER = new URL("../fleet/count-computed.mjs", import.meta.url).href;

async function readCommits(run: string) {
  const names = await listCommits(run);
  return Promise.all(names.map(async (name) => JSON.parse(await readFile(join(run, name), "utf8"))));
}

/** Records of which the reference engine computes eight for minutes. */
function longRecords(count: number) {
  return Array.from({ length: count }, (_, i) => ({
    token_ids: Array.from({ length: 1200 }, (_, k) => (k * 7 + i) % 199),
  }));
}

/** Until a worker has begun to compute a unit. */
async function waitForSpool(run: string, worker: Running): Promise<void> {
  await until(async () => {
    const names = await readdir(run, { recursive: true }).catch(() => [] as string[]);
    return names.some((name) => name.endsWith(".shard"));
  }, worker);
}

/** Seconds of computing that the engine of a worker has had, which leads a process group. */
async function engineSeconds({ child }: Running): Promise<number> {
  if (process.platform !== "linux") return Number.POSITIVE_INFINITY; // Nothing tells.
  for (const pid of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
    const facts = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
    // After the name, which may hold anything: state, parent, process group; user and system time in ticks of 10 ms.
    const fields = facts.slice(facts.lastIndexOf(")") + 2).split(" ");
    if (Number(fields[2]) !== child.pid) continue;
    const command = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    if (command.includes("engine-main.js")) return (Number(fields[11]) + Number(fields[12])) / 100;
  }
  return 0;
}

/** Starts workers, and lets none go on before each holds a unit: on a busy machine one may start when the others are done. */
async function startTogether(
  folder: string,
  starts: readonly ((env: Readonly<Record<string, string>>) => Running)[],
): Promise<Running[]> {
  const holds = starts.map((_, i) => new Hold(join(folder, `start-${i}`), "lease taken"));
  const workers = starts.map((start, i) => start(holds[i]?.env ?? {}));
  await Promise.all(workers.map((worker, i) => holds[i]?.reached(worker)));
  for (const hold of holds) hold.release();
  return workers;
}

it.each([1, 8])("four workers that all think they are worker 0 share %i stream(s)", async (streams) => {
  const folder = await temporaryFolder();
  const source = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(640));
  const dataset = join(folder, "streams");
  await runSluice([
    "streams",
    "--dataset",
    source,
    "--num-streams",
    String(streams),
    "--output-dir",
    dataset,
  ]);
  const run = join(folder, "run");
  const computed = join(folder, "computed");
  const flags = smallRun(dataset, run, "--worker-id", "0", "--engine", "reference", "--lease-seconds", "30");
  const start = (env: Readonly<Record<string, string>>) => {
    const counting = {
      NODE_OPTIONS: `${env.NODE_OPTIONS} --import ${COUNTER}`,
      SLUICE_TEST_COMPUTED: computed,
    };
    return startSluice(flags, { ...env, ...counting });
  };
  for (const worker of await startTogether(folder, [start, start, start, start]))
    expect(await worker.ended).toMatchObject({ code: 0 });
  const commits = await readCommits(run);
  expect(commits).toHaveLength(80);
  const byWorker = new Map<string, number>();
  for (const commit of commits) byWorker.set(commit.by.worker, (byWorker.get(commit.by.worker) ?? 0) + 1);
  console.log(`${streams} streams, commits by worker:`, [...byWorker.values()]);
  expect(byWorker.size).toBe(4);
  const twice = (await readFile(computed, "utf8")).trim().split("\n").length - commits.length;
  console.log(`units computed twice: ${twice}`);
  expect(twice).toBeGreaterThanOrEqual(0);
  expect(twice, "by accident only").toBeLessThanOrEqual(2);
  const single = join(folder, "single");
  await runSluice(smallRun(dataset, single, "--engine", "reference"));
  expect(await hashData(run)).toEqual(await hashData(single));
  expect((await readdir(join(run, "tpu_0"))).filter((name) => name === "alt")).toEqual([]);
});

it("a worker that slept from just before its commit through the end of the run neither doubles nor damages anything", async () => {
  const folder = await temporaryFolder();
  const dataset = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(400));
  const run = join(folder, "run");
  const hold = new Hold(join(folder, "steps"), "run.json looked at again", 5);
  const sleeper = startSluice(smallRun(dataset, run), hold.env);
  await hold.reached(sleeper);
  sleeper.child.kill("SIGSTOP");
  expect(await listCommits(run)).toHaveLength(4);
  expect(await runSluice(smallRun(dataset, run))).toMatchObject({ code: 0 });
  const whole = await hashData(run);
  const commits = await readCommits(run);
  hold.release();
  sleeper.child.kill("SIGCONT");
  const ended = await sleeper.ended;
  expect(ended, ended.stderr).toMatchObject({ code: 0 });
  expect(await hashData(run)).toEqual(whole);
  expect(await readCommits(run)).toEqual(commits);
});

it("a sleeper whose run was made anew with another identity is refused", async () => {
  const folder = await temporaryFolder();
  const dataset = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(400));
  const run = join(folder, "run");
  const hold = new Hold(join(folder, "steps"), "run.json looked at again", 3);
  const sleeper = startSluice(smallRun(dataset, run), hold.env);
  await hold.reached(sleeper);
  sleeper.child.kill("SIGSTOP");
  await rm(run, { recursive: true });
  expect(await runSluice(smallRun(dataset, run, "--seed", "7"))).toMatchObject({ code: 0 });
  const whole = await hashData(run);
  hold.release();
  sleeper.child.kill("SIGCONT");
  const ended = await sleeper.ended;
  expect([65, 78]).toContain(ended.code);
  expect(ended.stderr).toMatch(/made anew|foreign/);
  const again = await runSluice(["verify", run, "--deep", "--json"]);
  expect(JSON.parse(again.stdout)).toMatchObject({
    complete: true,
    records: 400,
    duplicated: [],
    corrupt: [],
  });
  for (const [name, hash] of Object.entries(whole)) expect((await hashData(run))[name]).toBe(hash);
});

it.each([
  ["npx sluice extract", "npx", ["sluice", "extract"]],
  ["scripts/launch_worker.sh", join(ROOT, "scripts/launch_worker.sh"), []],
  ["node dist/cli/sluice.js extract", process.execPath, [join(ROOT, "dist/cli/sluice.js"), "extract"]],
])(
  "SIGTERM to the process group of %s: exit 75 within 10 s, also in the middle of a long batch",
  async (_, command, first) => {
    const folder = await temporaryFolder();
    const dataset = await writeJsonl(join(folder, "d.jsonl"), longRecords(8));
    const run = join(folder, "run");
    const [, ...flags] = smallRun(dataset, run, "--engine", "reference");
    const checkpoints = { CHECKPOINT_DIR: join(folder, "checkpoints") };
    const builtAt = (await stat(join(ROOT, "dist/cli/main.js"))).mtimeMs;
    const worker = startProgram(command, [...first, ...flags], checkpoints, true, ROOT);
    await waitForSpool(run, worker);
    await until(async () => (await engineSeconds(worker)) >= 1, worker);
    const at = performance.now();
    process.kill(-(worker.child.pid ?? 0), "SIGTERM");
    const ended: Ended = await worker.ended;
    const seconds = (performance.now() - at) / 1000;
    console.log(`exit after ${seconds.toFixed(2)} s: code ${ended.code}, signal ${ended.signal}`);
    expect(ended, ended.stderr).toMatchObject({ code: 75 });
    expect(seconds).toBeLessThan(10);
    expect((await stat(join(ROOT, "dist/cli/main.js"))).mtimeMs, "as others may just be loading it").toBe(
      builtAt,
    );
    expect(await listCommits(run)).toEqual([]);
  },
);

it("a worker that cannot go on leaves the others alone", async () => {
  const folder = await temporaryFolder();
  const dataset = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(400));
  const run = join(folder, "run");
  const hold = new Hold(join(folder, "steps"), "commit created", 3);
  const good = startSluice(smallRun(dataset, run), hold.env);
  await hold.reached(good);
  expect(await runSluice(smallRun(dataset, run, "--dtype", "float32"))).toMatchObject({ code: 78 });
  expect(
    await runSluice(["extract", "--model", BUNDLED_MODEL, "--dataset", dataset, "--output", run]),
  ).toMatchObject({ code: 78 });
  hold.release();
  expect(await good.ended).toMatchObject({ code: 0 });
});

it("any half of a finished run can be deleted: extract completes it", async () => {
  const folder = await temporaryFolder();
  const dataset = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(80));
  const run = join(folder, "run");
  await runSluice(smallRun(dataset, run));
  const whole = await hashData(run);
  let state = 12_345;
  for (let round = 0; round < 12; round++) {
    const names = (await readdir(run, { recursive: true, withFileTypes: true }))
      .filter((e) => e.isFile())
      .map((e) => join(e.parentPath, e.name))
      .sort(); // A file system lists them in any order, and the same half is to go everywhere.
    const deleted: string[] = [];
    for (const name of names) {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      if (state / 2 ** 32 >= 0.5) continue;
      await rm(name);
      deleted.push(relative(run, name));
    }
    const ended = await runSluice(smallRun(dataset, run));
    const which = `round ${round}, without ${deleted.join(", ")}: ${ended.stderr}`;
    expect(ended, which).toMatchObject({ code: 0 });
    expect(await hashData(run), which).toEqual(whole);
  }
});

it("a unit that kills its engine is given up after five attempts; everything else is committed", async () => {
  const folder = await temporaryFolder();
  const dataset = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(40));
  const run = join(folder, "run");
  const env = {
    NODE_OPTIONS: `--import ${new URL("./crashing-engine.mjs", import.meta.url).href}`,
    SLUICE_TEST_CRASH_LENGTH: String(longest()),
  };
  const ended = await runSluice(smallRun(dataset, run), env);
  expect(ended.code).toBe(65);
  expect(ended.stderr).toMatch(/failed on tpu_0\/shard_000\d five times; everything else is committed/);
  expect(await listCommits(run)).toHaveLength(4);
  expect(await runSluice(smallRun(dataset, run))).toMatchObject({ code: 65 });
  expect(await runSluice(smallRun(dataset, run, "--retry-failed"))).toMatchObject({ code: 0 });

  function longest(): number {
    return Math.max(...tokenRecords(40).map((r) => r.token_ids.length));
  }
});

it("pre-emption on the same unit, six times, is no failure of it", async () => {
  const folder = await temporaryFolder();
  const dataset = await writeJsonl(join(folder, "d.jsonl"), longRecords(8));
  const run = join(folder, "run");
  for (let i = 0; i < 6; i++) {
    const worker = startSluice(smallRun(dataset, run, "--engine", "reference"));
    await waitForSpool(run, worker);
    worker.child.kill(i % 2 === 0 ? "SIGTERM" : "SIGKILL");
    expect(await worker.ended).toMatchObject(i % 2 === 0 ? { code: 75 } : { signal: "SIGKILL" });
    await rm(join(run, ".tmp"), { recursive: true }); // What a killed worker leaves would look like the next one's.
  }
  expect(await listCommits(run)).toEqual([]);
  const names = await readdir(run, { recursive: true });
  expect(names.filter((name) => name.includes(".failed."))).toEqual([]);
  expect(await runSluice(smallRun(dataset, run, "--engine", "onnx"))).toMatchObject({ code: 0 });
  expect(await listCommits(run)).toHaveLength(1);
});

it("the reference engine and ONNX Runtime share a run; each commit says who made it", async () => {
  const folder = await temporaryFolder();
  const dataset = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(240));
  const run = join(folder, "run");
  // Leases that outlast a busy machine: who is slow must not lose his only unit to the other one.
  const start = (engine: string) => (env: Readonly<Record<string, string>>) =>
    startSluice(
      smallRun(dataset, run, "--engine", engine, "--dtype", "float32", "--lease-seconds", "30"),
      env,
    );
  const workers = await startTogether(folder, [start("reference"), start("onnx")]);
  expect((await Promise.all(workers.map(({ ended }) => ended))).map((e) => e.code)).toEqual([0, 0]);
  const report = JSON.parse((await runSluice(["verify", run, "--deep", "--json"])).stdout);
  expect(report).toMatchObject({ complete: true, records: 240, duplicated: [], corrupt: [] });
  expect(report.executions.map((e: { execution: { engine: string } }) => e.execution.engine).sort()).toEqual([
    "onnx",
    "reference",
  ]);
  expect(TINY_MODEL).toContain("qwen2");
});

it("a commit that vanishes while a worker runs is not taken for granted at the end", async () => {
  const folder = await temporaryFolder();
  const dataset = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(800));
  const run = join(folder, "run");
  const hold = new Hold(join(folder, "steps"), "commit created", 5);
  const worker = startSluice(smallRun(dataset, run), hold.env);
  await hold.reached(worker);
  await rm(join(run, "tpu_0/shard_0001.json"));
  hold.release();
  expect(await worker.ended).toMatchObject({
    code: 65,
    stderr: expect.stringContaining("the commits of 1 unit went missing while this worker ran"),
  });
  expect(existsSync(join(run, "index.json"))).toBe(false);
  expect(await runSluice(smallRun(dataset, run))).toMatchObject({ code: 0 });
  expect(await listCommits(run)).toHaveLength(100);
});

it("an engine that dies while it loads the model is no unit's fault", async () => {
  const folder = await temporaryFolder();
  const dataset = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(16));
  const run = join(folder, "run");
  const env = { NODE_OPTIONS: `--import ${new URL("./dying-engine.mjs", import.meta.url).href}` };
  expect(await runSluice(smallRun(dataset, run), env)).toMatchObject({
    code: 78,
    stderr: expect.stringMatching(/the engine cannot load the model: .*SIGKILL \(out of memory\?\)/),
  });
  const names = await readdir(run, { recursive: true });
  expect(names.filter((name) => name.includes(".failed."))).toEqual([]);
  expect(await runSluice(smallRun(dataset, run))).toMatchObject({ code: 0 });
});

it("a worker whose weights are not the run's stores nothing", async () => {
  const folder = await temporaryFolder();
  const dataset = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(16));
  const run = join(folder, "run");
  expect(await runSluice(smallRun(dataset, run))).toMatchObject({ code: 0 });
  for (const name of ["shard_0002.json", "shard_0002.safetensors"]) await rm(join(run, "tpu_0", name));
  const model = join(folder, "model");
  await cp(TINY_MODEL, model, { recursive: true });
  const weights = await readFile(join(model, "model.safetensors"));
  weights[weights.length - 2] = (weights[weights.length - 2] ?? 0) ^ 1;
  await writeFile(join(model, "model.safetensors"), weights);
  expect(await runSluice(smallRun(dataset, run, "--model", model))).toMatchObject({
    code: 78,
    stderr: expect.stringContaining("model.weights_sha256"),
  });
  expect(Object.keys(await hashData(run))).toEqual(["tpu_0/shard_0001.safetensors"]);
});
