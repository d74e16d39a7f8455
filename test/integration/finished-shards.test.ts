// A worker that is killed between computing and uploading leaves a finished shard; the next one of this machine stores it.

import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import type { Commit } from "../../src/run/commit.js";
import { GRACE_MS } from "../../src/run/preemption.js";
import { GcsStore } from "../../src/store/gcs.js";
import { FakeGcs } from "../fake-gcs.js";
import {
  hashData,
  runSluice,
  smallRun,
  startSluice,
  tellTwice,
  temporaryFolder,
  tokenRecords,
  until,
  writeJsonl,
} from "../helpers.js";
import { hashStored } from "./hash-stored.js";

const RUN = "gs://bucket/run";
let server: FakeGcs;
let folder: string;
let spool: string;
let flags: string[];
let env: Record<string, string>;
beforeEach(async () => {
  server = await new FakeGcs().start();
  env = { STORAGE_EMULATOR_HOST: server.url };
  folder = await temporaryFolder();
  spool = join(folder, "spool");
  const dataset = await writeJsonl(join(folder, "data.jsonl"), tokenRecords(40));
  flags = smallRun(dataset, RUN, "--spool", spool);
  expect(await runSluice(smallRun(dataset, join(folder, "local")))).toMatchObject({ code: 0 });
});
afterEach(() => server.stop());

/** Of safetensors, or compressed. */
const DATA = /\.(safetensors|pkl\.gz)$/;
const marks = async () => (await readdir(spool).catch(() => [])).filter((name) => name.endsWith(".json"));

/** Kills a worker whose first upload stalls. @returns the file that it had finished. */
async function killWhileUploading(...more: string[]): Promise<string> {
  const isUploading = server.stall(DATA); // What says that a shard is finished comes before its upload.
  const worker = startSluice([...flags, ...more], env);
  await until(isUploading, worker);
  worker.child.kill("SIGKILL");
  await worker.ended;
  server.fault = () => undefined;
  const [mark = ""] = await marks();
  return join(spool, mark.replace(/\.json$/, ""));
}

async function commits(): Promise<Commit[]> {
  const store = new GcsStore(RUN, { emulator: server.url });
  const found: Commit[] = [];
  for await (const { name } of store.list("tpu_"))
    if (/shard_\d+\.json$/.test(name)) found.push(JSON.parse(Buffer.from(await store.read(name)).toString()));
  return found;
}

it("stores what a dead worker had finished, byte for byte, and computes the rest", async () => {
  const file = await killWhileUploading();
  expect((await stat(spool)).mode & 0o777).toBe(0o700);
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  expect((await stat(`${file}.json`)).mode & 0o777).toBe(0o600);
  const left: { unit: string; commit: Commit } = JSON.parse(await readFile(`${file}.json`, "utf8"));
  // Also where the store still cannot be reached, and a second worker comes and goes.
  const again = await killWhileUploading();
  expect(again).not.toBe(file);
  expect((await readFile(`${again}.json`, "utf8")).includes(left.unit)).toBe(true);

  const ended = await runSluice(flags, env);
  expect(ended, ended.stderr).toMatchObject({ code: 0 });
  expect(ended.stderr).toContain("1 finished shard in");
  expect(await hashStored(RUN, server.url)).toEqual(await hashData(join(folder, "local")));
  const made = await commits();
  expect(made).toHaveLength(5);
  expect(made.filter((commit) => commit.by.worker === left.commit.by.worker)).toHaveLength(1);
  expect(new Set(made.map((commit) => commit.by.worker)).size).toBe(2);
  expect(await readdir(spool), "nothing is left").toEqual([]);
  expect(await runSluice(["verify", RUN, "--deep"], env)).toMatchObject({ code: 0 });
});

it("stops its upload where it is told to leave at once, and leaves what it had finished", async () => {
  const isUploading = server.stall(DATA);
  const worker = startSluice(flags, env);
  await until(isUploading, worker);
  const { how, ms } = await tellTwice(worker);
  expect(how).toMatchObject({ code: 75 });
  expect(ms, "or it has waited for the end of its grace").toBeLessThan(GRACE_MS);
  server.fault = () => undefined;
  const [mark = ""] = await marks();
  const left: { commit: Commit } = JSON.parse(await readFile(join(spool, mark), "utf8"));

  const ended = await runSluice(flags, env);
  expect(ended, ended.stderr).toMatchObject({ code: 0 });
  expect(ended.stderr).toContain("1 finished shard in");
  expect((await commits()).some(({ by }) => by.worker === left.commit.by.worker)).toBe(true);
  expect(await hashStored(RUN, server.url)).toEqual(await hashData(join(folder, "local")));
});

it("computes again what was damaged, or is another run's", async () => {
  const file = await killWhileUploading();
  const bytes = await readFile(file);
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
  await writeFile(file, bytes);
  const other = await runSluice([...flags, "--output", "gs://bucket/other", "--dtype", "float32"], env);
  expect(other, other.stderr).toMatchObject({ code: 0 });
  expect(other.stderr).not.toContain("finished shard");
  expect(await marks(), "still there for its own run").toHaveLength(1);
  const ended = await runSluice(flags, env);
  expect(ended, ended.stderr).toMatchObject({ code: 0 });
  expect(await hashStored(RUN, server.url)).toEqual(await hashData(join(folder, "local")));
  expect(new Set((await commits()).map((commit) => commit.by.worker)).size).toBe(1);
  expect(await readdir(spool)).toEqual([]);
});

it("stores compressed shards, too; another worker's of this moment are left alone", async () => {
  const compressed = ["--format", "pkl.gz", "--layers", "0"];
  await killWhileUploading(...compressed);
  const isUploading = server.stall(DATA);
  const living = startSluice([...flags, ...compressed], env);
  await until(isUploading, living);
  // The next one, too, is computed by then, or nearly.
  await until(
    async () => (await readdir(spool)).filter((name) => name.endsWith(".shard")).length > 0,
    living,
  );
  living.child.kill("SIGSTOP");
  const before = (await readdir(spool)).sort();
  server.letGo();
  const helper = startSluice([...flags, ...compressed], env);
  // It has looked into the spool before it takes its first unit; of five, the sleeper holds three at most.
  await until(async () => (await commits()).length >= 2, helper);
  expect((await readdir(spool)).sort().filter((name) => before.includes(name))).toEqual(before);
  living.child.kill("SIGCONT");
  expect((await Promise.all([living.ended, helper.ended])).map(({ code }) => code)).toEqual([0, 0]);
  expect(await readdir(spool)).toEqual([]);
  expect(await runSluice(["verify", RUN, "--deep"], env)).toMatchObject({ code: 0 });
});
