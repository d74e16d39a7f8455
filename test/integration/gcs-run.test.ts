// Whole runs in a bucket of Google Cloud Storage, as a user starts them: against the strict fake, and an emulator that is none of ours.

import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
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
import { FAKE_GCS_SERVER, startFakeGcsServer } from "./fake-gcs-server.js";
import { hashStored } from "./hash-stored.js";

let folder: string;
let dataset: string;
let url: string;
beforeEach(async () => {
  folder = await temporaryFolder();
  dataset = await writeJsonl(join(folder, "data.jsonl"), tokenRecords(40));
});

const run = (...args: string[]) => runSluice(args, { STORAGE_EMULATOR_HOST: url, TMPDIR: folder });

async function readAsAny(uri: string) {
  const local = join(folder, "local");
  expect((await runSluice(smallRun(dataset, local))).code).toBe(0);
  expect(await run(...smallRun(dataset, uri))).toMatchObject({ code: 0 });
  expect(await hashStored(uri, url)).toEqual(await hashData(local));
  // Nothing is left in the spool, which is this user's alone.
  const [spool = ""] = (await readdir(folder)).filter((name) => name.startsWith("sluice-spool-"));
  expect(await readdir(join(folder, spool))).toEqual([]);

  const again = await run(...smallRun(dataset, `${uri}/`));
  expect(again).toMatchObject({ code: 0 });
  expect(again.stdout).toContain("Nothing left to do");
  // The dataset may lie in a bucket too: it is the same one.
  const prompts = new GcsStore("gs://bucket/prompts", { emulator: url });
  await prompts.create("data.jsonl", await readFile(dataset));
  const elsewhere = await run(...smallRun("gs://bucket/prompts/data.jsonl", uri));
  expect(elsewhere).toMatchObject({ code: 0 });
  expect(elsewhere.stdout).toContain("Nothing left to do");
  expect(await run(...smallRun("gs://bucket/prompts/data.jsonl", "gs://bucket/second"))).toMatchObject({
    code: 0,
  });
  expect(await hashStored("gs://bucket/second", url)).toEqual(await hashData(local));
  const verified = await run("verify", uri, "--deep", "--dataset", dataset, "--json");
  expect(JSON.parse(verified.stdout)).toMatchObject({
    complete: true,
    records: 40,
    corrupt: [],
    missing: [],
  });
  expect((await run("status", uri)).stdout).toContain("5 of 5");
  expect((await run("inspect", uri)).stdout).toContain("5 shards");
  expect((await run("inspect", `${uri}/tpu_0/shard_0002.safetensors`)).stdout).toContain(": 1 shard,");
  const exported = await run("export", uri, "--to", "npy", "--output", join(folder, "export"));
  expect(exported).toMatchObject({ code: 0 });
  const like = await run(...smallRun(dataset, join(folder, "like"), "--like", uri));
  expect(like).toMatchObject({ code: 0 });
}

describe.skipIf(FAKE_GCS_SERVER === undefined)("a run in fake-gcs-server", () => {
  it("has the bytes of one in a folder, and everything that reads a run reads it", async () => {
    const server = await startFakeGcsServer("bucket");
    url = server.url;
    try {
      await readAsAny("gs://bucket/team/activations");
    } finally {
      await server.stop();
    }
  });
});

describe("a run in a bucket", () => {
  let server: FakeGcs;
  beforeEach(async () => {
    server = await new FakeGcs().start();
    url = server.url;
  });
  afterEach(() => server.stop());

  it("has the bytes of one in a folder, and everything that reads a run reads it", async () => {
    const uri = "gs://bucket/team/activations";
    await readAsAny(uri);
    // A shard that is edited in place is found.
    const name = "team/activations/tpu_0/shard_0003.safetensors";
    const object = server.objects.get(name);
    const bytes = Buffer.from(object?.pieces[0]?.bytes ?? []);
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
    if (object) server.objects.set(name, { ...object, pieces: [{ offset: 0, bytes }] });
    expect(await run("verify", uri, "--deep")).toMatchObject({ code: 65 });
  });

  it("survives a store that fails every seventh request, in all ways", async () => {
    const local = join(folder, "local");
    const ways = [
      { kind: "status", status: 503 },
      { kind: "lost" },
      { kind: "cut", after: 100 },
      { kind: "damage" },
      { kind: "status", status: 429 },
      { kind: "torn", after: 10 },
    ] as const;
    server.fault = ({ total }) => (total % 7 === 0 ? ways[(total / 7) % ways.length] : undefined);
    const uri = "gs://bucket/run";
    expect(await run(...smallRun(dataset, uri))).toMatchObject({ code: 0 });
    server.fault = () => undefined;
    expect((await runSluice(smallRun(dataset, local))).code).toBe(0);
    expect(await hashStored(uri, url)).toEqual(await hashData(local));
    expect(await run("verify", uri, "--deep")).toMatchObject({ code: 0 });
  });

  it("is left in time where the store hangs and the machine is taken away", async () => {
    const hasStalled = server.stall(/\.safetensors$/);
    const env = { STORAGE_EMULATOR_HOST: url, TMPDIR: folder };
    const worker = startSluice(smallRun(dataset, "gs://bucket/run"), env);
    await until(hasStalled, worker);
    const { how, ms } = await tellTwice(worker);
    expect(how).toMatchObject({ code: 75 });
    expect(ms).toBeLessThan(GRACE_MS);
    server.fault = () => undefined;
    expect(await run(...smallRun(dataset, "gs://bucket/run"))).toMatchObject({ code: 0 });
    expect(JSON.parse((await run("verify", "gs://bucket/run", "--json")).stdout)).toMatchObject({
      complete: true,
    });
  });
});
