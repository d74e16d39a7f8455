// The commands beside `extract`, given what a newcomer gives them: messages that name the thing, the value, what was expected and what to
// do, the exit codes of the contract, and no result that is lost without a word.

import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { cp, mkdtemp, readdir, readFile, rm, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import {
  callSluice,
  expectRefusal,
  runSluice,
  smallRun,
  startProgram,
  TINY_MODEL,
  temporaryFolder,
  tokenRecords,
  writeJsonl,
} from "./helpers.js";

const PROGRAM = fileURLToPath(new URL("../dist/cli/sluice.js", import.meta.url));

let home = "";
beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), "sluice-commands-"));
  const dataset = await writeJsonl(join(home, "d.jsonl"), tokenRecords(12));
  expect(await runSluice(smallRun(dataset, join(home, "run"), "--layers", "1"))).toMatchObject({ code: 0 });
});
afterAll(() => rm(home, { recursive: true }));

/** A copy of a run of two shards, of the second of the tiny model's two layers. */
async function copyRun(): Promise<string> {
  const run = join(await temporaryFolder(), "run");
  await cp(join(home, "run"), run, { recursive: true });
  return run;
}

it("says that a variable of a script was not set, and takes no address for a local folder", async () => {
  const folder = await temporaryFolder();
  const dataset = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(2));
  for (const command of ["status", "verify", "inspect", "export", "gc"])
    await expectRefusal(
      [command, ""],
      64,
      "RUN is empty; expected a value. Is a variable of your script not set?",
    );
  const streams = ["streams", "--dataset", dataset, "--output-dir"];
  await expectRefusal([...streams, ""], 64, "--output-dir is empty");
  await expectRefusal(["streams", "--dataset", "", "--output-dir", folder], 64, "--dataset is empty");
  await expectRefusal([...streams, "gs://b/s"], 64, "--output-dir is no local folder; found gs://b/s");
  for (const args of [["status", "gs:/b/run"], smallRun(dataset, "gs:/b/run"), smallRun("gs:/b/run", folder)])
    await expectRefusal(
      args,
      78,
      "this is no address of a bucket; found gs:/b/run; expected gs://b/run, or ./gs:/b/run",
    );
  await expectRefusal(["doctor", "--prompt", "arch"], 64, "--prompt has an unknown value; found arch");
  expect(await readdir(folder)).toEqual(["d.jsonl"]);
});

it("refuses words that are no command, also where help is asked for", async () => {
  for (const args of [["statu", "--help"], ["help", "statu"], ["statu"]])
    await expectRefusal(args, 64, "unknown command 'statu'", "Did you mean status?");
  await expectRefusal(
    ["plugins", "list"],
    64,
    "sluice plugins has no such command; found list; expected install",
  );
  const install = await callSluice(["plugins", "install", "--help"]);
  expect(await callSluice(["help", "plugins", "install"])).toEqual(install);
  expect(install).toMatchObject({ code: 0, stdout: expect.stringContaining("DEVICE==VERSION") });
  const listed = await callSluice(["plugins"], { PJRT_PLUGIN_LIBRARY_PATH: "/none/of/that.so" });
  expect(listed.stdout).toContain(
    "PJRT_PLUGIN_LIBRARY_PATH names /none/of/that.so, where there is no plug-in",
  );
});

it("says what a run holds where something else is asked of it", async () => {
  const run = await copyRun();
  const holds = "the run does not hold what is asked for; found ";
  for (const command of ["inspect", "export"]) {
    await expectRefusal(
      [command, run, "--layers", "0"],
      64,
      `${holds}--layers 0; expected resid_post of layer 1`,
    );
    await expectRefusal([command, run, "--layers", "1,7"], 64, `${holds}--layers 7`);
    await expectRefusal(
      [command, run, "--hooks", "q"],
      64,
      `${holds}--hooks q; expected resid_post of layer 1`,
    );
  }
  await expectRefusal(["inspect", run, "--record", "12"], 64, "--record", "a whole number from 0 to 11");
  const shard = (name: string) => ["inspect", join(run, name)];
  await expectRefusal(
    shard("tpu_0/shard_0003.safetensors"),
    64,
    "has no such shard; found shard 3 of stream 0; expected a shard from 1 to 2 of stream 0",
  );
  await expectRefusal(shard("tpu_1/shard_0001.json"), 64, "expected a stream from 0 to 0");
  const there = await startProgram(
    process.execPath,
    [PROGRAM, "inspect", "shard_0002.safetensors", "--samples", "0"],
    {},
    false,
    join(run, "tpu_0"),
  ).ended;
  expect(there).toMatchObject({ code: 0, stderr: "", stdout: expect.stringContaining("1 shard, 4 samples") });

  const data = join(run, "tpu_0/shard_0002.safetensors");
  await truncate(data, 100);
  const fix = "remove what is left of it, and extract makes it again";
  await expectRefusal(["export", run], 65, "shard_0002.safetensors is too short; found 100 bytes", fix);
  await rm(data);
  await expectRefusal(["export", run], 65, "shard_0002.safetensors is missing; found no such object", fix);
  expect(await readdir(join(run, "export"))).toEqual(["export.json"]);
});

it.skipIf(!existsSync("/dev/full"))("ends with 74 where the disk does not take the result", async () => {
  const run = await copyRun();
  for (const args of [
    ["status", run],
    ["verify", run, "--json"],
  ]) {
    const ended = spawnSync("sh", ["-c", '"$@" > /dev/full', "sh", process.execPath, PROGRAM, ...args]);
    expect(ended.stderr.toString()).toMatch(/^sluice: the output cannot be written; found ENOSPC/);
    expect(ended.status).toBe(74);
  }
  // Whoever reads no further wants no more.
  const headed = spawnSync("sh", ["-c", '"$@" | head -c 1', "sh", process.execPath, PROGRAM, "inspect", run]);
  expect(headed.stderr.toString()).toBe("");
  const mute = spawnSync("sh", [
    "-c",
    '"$@" 2> /dev/full',
    "sh",
    process.execPath,
    PROGRAM,
    "status",
    join(run, "x"),
  ]);
  expect(mute.status).toBe(78);
});

it("doctor refuses a column as extract does", async () => {
  const folder = await temporaryFolder();
  const dataset = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(9));
  const flags = ["--model", TINY_MODEL, "--dataset", dataset, "--column", "token_id"];
  const text =
    "--column names a column that the dataset does not have; found token_id; expected perhaps token_ids";
  const doctor = await callSluice(["doctor", ...flags]);
  expect(doctor).toMatchObject({
    code: 78,
    stdout: expect.stringContaining(`FAILURE dataset: ${dataset}: ${text}`),
  });
  expect((await callSluice(["extract", ...flags, "--output", join(folder, "run")])).stderr).toContain(text);
});

it("makes again what is missing of one shard, and says so of one", async () => {
  const run = await copyRun();
  const data = join(run, "tpu_0/shard_0002.safetensors");
  const before = await readFile(data);
  await rm(data);
  const again = await runSluice(smallRun(join(home, "d.jsonl"), run, "--layers", "1"));
  expect(again.stderr).toContain("the data of 1 committed shard is missing: making it again");
  expect(again.code).toBe(0);
  expect(await readFile(data)).toEqual(before);
});
