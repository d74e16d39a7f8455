// What a newcomer does wrong: every refusal names the thing, the value, what was expected and what to do, without a stack trace.

import { spawnSync } from "node:child_process";
import { chmod, chown, cp, mkdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { Hold } from "./held.js";
import {
  BUNDLED_MODEL,
  expectRefusal,
  listCommits,
  runSluice,
  smallRun,
  startSluice,
  TINY_MODEL,
  temporaryFolder,
  tokenRecords,
  writeJsonl,
} from "./helpers.js";

const PROGRAM = fileURLToPath(new URL("../dist/cli/sluice.js", import.meta.url));
/** A user who owns nothing. */
const NOBODY = 65_534;

async function prepare() {
  const folder = await temporaryFolder();
  const dataset = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(9));
  const run = join(folder, "run");
  const withModel = (model: string) => ["extract", "--model", model, "--dataset", dataset, "--output", run];
  return { folder, dataset, run, withModel };
}

it("refuses checkpoints that are no checkpoints", async () => {
  const { folder, withModel } = await prepare();
  const model = join(folder, "model");
  const file = join(TINY_MODEL, "model.safetensors");
  await expectRefusal(
    withModel(file),
    78,
    `${file} is a file, and no GGUF file; expected a folder with config.json`,
  );
  await cp(TINY_MODEL, model, { recursive: true });
  const weights = join(model, "model.safetensors");
  await truncate(weights, 50_000);
  await expectRefusal(withModel(model), 78, "truncated in tensor", "found 50000 bytes", "Download");
  await writeFile(weights, "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n");
  await expectRefusal(withModel(model), 78, "is a pointer of Git LFS", "git lfs pull");
  await writeFile(weights, "");
  await expectRefusal(withModel(model), 78, "no safetensors file, or is truncated; found 0 bytes");
  await rm(weights);
  await writeFile(join(model, "pytorch_model.bin"), "x");
  await expectRefusal(withModel(model), 78, `the checkpoint at ${model} lacks model.safetensors`);
  const config = JSON.parse(await readFile(join(model, "config.json"), "utf8"));
  await writeFile(join(model, "config.json"), JSON.stringify({ ...config, architectures: ["NoSuchLM"] }));
  await expectRefusal(withModel(model), 78, "the architecture is not supported; found NoSuchLM; expected ");
});

it("refuses values that cannot be read, and flags that exclude each other", async () => {
  const { dataset, run } = await prepare();
  const refuse = (flags: string[], ...texts: string[]) =>
    expectRefusal(
      ["extract", "--model", TINY_MODEL, "--dataset", dataset, "--output", run, ...flags],
      64,
      ...texts,
    );
  await refuse(["--shard-size", "0"], "--shard-size is not a size; found 0; expected for example 1GB");
  await refuse(["--shard-size", "1,5GB"], "found 1,5GB");
  await refuse(["--samples-per-shard", "1,000"], "found 1,000; expected a whole number from 1 to 65536");
  await refuse(["--shard-size", "1GB", "--samples-per-shard", "4"], "exclude each other");
  await refuse(["--layers", ""], "--layers is empty; expected a value");
  await refuse(["--output", ""], "--output is empty", "Is a variable of your script not set?");
  await refuse(["--layer", "3"], "unknown option '--layer'", "Did you mean --layers?");
  await refuse(["--format", "pkl.gz", "--hooks", "resid_pre,resid_post"], "--format pkl.gz holds one hook");
  expect(await listCommits(run)).toEqual([]);
  await expect(readFile(join(run, "run.json"))).rejects.toThrow("ENOENT");
});

it("refuses what is no run, no shard and no dataset", async () => {
  const { folder, dataset, run } = await prepare();
  for (const command of ["verify", "status", "inspect", "export"])
    await expectRefusal(
      [command, folder],
      78,
      `there is no run at ${folder}; expected a folder with run.json`,
    );
  await expectRefusal(
    ["inspect", dataset],
    78,
    `${dataset} is no shard of a run; expected RUN, or RUN/tpu_0`,
  );
  const empty = join(folder, "empty");
  await mkdir(empty);
  await expectRefusal(smallRun(empty, run), 78, `${empty} is no streams folder and holds no data files`);
  const pipe = join(folder, "pipe.jsonl");
  spawnSync("mkfifo", [pipe]);
  await expectRefusal(smallRun(pipe, run), 78, `the dataset ${pipe} is no regular file; found a pipe`);
  await expectRefusal(["streams", "--dataset", pipe, "--output-dir", run], 78, "is no regular file");
  const pipes = join(folder, "pipes");
  await mkdir(pipes);
  spawnSync("mkfifo", [join(pipes, "a.jsonl")]);
  const inside = `the dataset ${pipes}/a.jsonl is no regular file`;
  await expectRefusal(smallRun(pipes, run), 78, inside);
  await expectRefusal(
    ["streams", "--dataset", `${pipes}/*.jsonl`, "--output-dir", join(folder, "o")],
    78,
    inside,
  );
  await expectRefusal(smallRun(dataset, join(dataset, "below")), 78, `${dataset} is in the way of a folder`);
  await writeFile(join(folder, "bad.jsonl.gz"), "not compressed");
  const streams = join(folder, "streams");
  await expectRefusal(
    ["streams", "--dataset", join(folder, "bad.jsonl.gz"), "--output-dir", streams],
    78,
    "compressed",
  );
  expect((await runSluice(["--version"])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
});

it("warns of records that give nothing, and of a stream that is not there", async () => {
  const { folder, dataset, run } = await prepare();
  const other = await writeJsonl(join(folder, "o.jsonl"), Array(30).fill({ prompt: "hello" }));
  const column = await runSluice(smallRun(other, join(folder, "other"), "--samples-per-shard", "30"));
  expect(column).toMatchObject({ code: 65, stderr: expect.stringContaining("check --column and --prompt") });
  expect(column.stderr).toContain("none of the records looked at gives a sample (no text or token_ids)");
  const idle = await runSluice(smallRun(dataset, run, "--no-steal", "--worker-id", "7"));
  expect(idle).toMatchObject({
    code: 0,
    stderr: expect.stringContaining("the dataset has no stream 7 (0 to 0)"),
  });
});

it("refuses a run that was edited by hand", async () => {
  const { dataset, run } = await prepare();
  await runSluice(smallRun(dataset, run));
  const text = await readFile(join(run, "run.json"), "utf8");
  await writeFile(join(run, "run.json"), text.replace('"seed": 42', '"seed": 43'));
  await expectRefusal(["verify", run], 65, "run.json was changed by hand", "Restore run.json");
  await expectRefusal(smallRun(dataset, run, "--seed", "43"), 65, "run.json was changed by hand");
  await writeFile(join(run, "run.json"), "{");
  await expectRefusal(["status", run], 65, "run.json is not JSON");
});

it("ends with 75 where it is stopped while it creates the run, and leaves nothing in the way", async () => {
  const { folder, run } = await prepare();
  const tasks = Array.from({ length: 200 }, (_, i) => ({ text: `${i}: ${"0 1 2 3 4 5 6 7 ".repeat(60)}` }));
  const dataset = await writeJsonl(join(folder, "long.jsonl"), tasks);
  const args = ["extract", "--model", BUNDLED_MODEL, "--dataset", dataset, "--output", run, "--threads", "1"];
  const hold = new Hold(join(folder, "steps"), "looking at the dataset");
  const worker = startSluice([...args, "--max-samples", "2"], hold.env);
  await hold.reached(worker);
  worker.child.kill("SIGINT");
  const ended = await worker.ended;
  expect(ended.stderr).toContain(
    "stopped by SIGINT before the run was complete. Start the same command again",
  );
  expect(ended.code).toBe(75);
  await expect(readFile(join(run, "run.json"))).rejects.toThrow("ENOENT");
  expect(await runSluice([...args, "--max-samples", "2", "--samples-per-shard", "2"])).toMatchObject({
    code: 0,
  });
});

it("refuses a folder that it may not write to", async () => {
  const { folder, dataset } = await prepare();
  const locked = join(folder, "locked");
  await mkdir(locked);
  await chmod(locked, 0o500);
  await chmod(folder, 0o755);
  // Root may write anywhere, so the worker is nobody then, whose own is the folder.
  const isRoot = process.getuid?.() === 0;
  if (isRoot) await chown(locked, NOBODY, NOBODY);
  const run = join(locked, "run");
  const ended = spawnSync(process.execPath, [PROGRAM, ...smallRun(dataset, run)], {
    encoding: "utf8",
    env: { PATH: process.env.PATH, HOME: folder },
    ...(isRoot ? { uid: NOBODY, gid: NOBODY } : {}),
  });
  expect(ended.stderr).toContain(`no permission for ${run}`);
  expect(ended.status).toBe(78);
});
