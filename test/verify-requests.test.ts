// What `sluice verify` asks of a bucket: where the listing tells a shard's size and checksum (Google's does), one request a shard, for
// its commit; where it tells the size alone (S3's), one more.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { openRunForReading } from "../src/read/open-run.js";
import { verifyRun } from "../src/read/verify.js";
import { GcsStore } from "../src/store/gcs.js";
import { S3Store } from "../src/store/s3.js";
import { StoreStatistics } from "../src/store/statistics.js";
import type { Store } from "../src/store/store.js";
import { FakeGcs } from "./fake-gcs.js";
import { FakeS3 } from "./fake-s3.js";
import { closeWorkshop, openWorkshop, type Workshop, work } from "./in-process.js";

let folder: string;
let workshop: Workshop;
let gcs: FakeGcs;
let s3: FakeS3;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "sluice-verify-requests-"));
  workshop = await openWorkshop(join(folder, "workshop"));
  gcs = await new FakeGcs().start();
  s3 = await FakeS3.start();
  for (const [name, value] of Object.entries(s3.env)) vi.stubEnv(name, value);
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await closeWorkshop(workshop);
  gcs.stop();
  await s3.close();
  await rm(folder, { recursive: true });
});

async function verify(open: (statistics: StoreStatistics) => Store) {
  const statistics = new StoreStatistics();
  const report = await verifyRun(await openRunForReading(open(statistics)), { deep: false });
  return { report, requests: Object.fromEntries(statistics.requests) };
}

it("on Google's is a listing, and the commits", async () => {
  const open = (statistics?: StoreStatistics) =>
    new GcsStore("gs://bucket/run", { emulator: gcs.url, ...(statistics && { statistics }) });
  await work(workshop, { store: open(), spool: join(folder, "spool"), uuid: "a" });
  const { report, requests } = await verify(open);
  expect(report).toMatchObject({ complete: true, shards: 2, corrupt: [] });
  // run.json and index.json are looked for; run.json and three commits are read.
  expect(requests).toEqual({ head: 2, read: 1 + 3, list: 1 });

  const name = "run/tpu_0/shard_0001.safetensors";
  const object = gcs.objects.get(name);
  if (!object) throw new Error(`no ${name}`);
  gcs.objects.set(name, { ...object, crc: object.crc ^ 1 });
  const damaged = await verify(open);
  expect(damaged.report.corrupt).toEqual([
    {
      name: "tpu_0/shard_0001.safetensors",
      reason: expect.stringMatching(/^CRC32C .* by what the store says/),
    },
  ]);
  gcs.objects.delete(name);
  expect((await verify(open)).report.corrupt).toEqual([
    { name: "tpu_0/shard_0001.safetensors", reason: "missing" },
  ]);
});

it("on S3's asks each shard's checksum", async () => {
  const open = (statistics?: StoreStatistics) =>
    new S3Store("s3://bucket/run", statistics ? { statistics } : {});
  await work(workshop, { store: open(), spool: join(folder, "spool"), uuid: "b" });
  const { report, requests } = await verify(open);
  expect(report).toMatchObject({ complete: true, shards: 2, corrupt: [] });
  expect(requests).toEqual({ head: 2 + 2, read: 1 + 3, list: 1 });

  // What the listing says is enough to refuse.
  const name = "run/tpu_0/shard_0001.safetensors";
  const object = s3.objects.get(name);
  if (!object) throw new Error(`no ${name}`);
  s3.objects.set(name, { ...object, size: object.bytes.length - 1 });
  const damaged = await verify(open);
  expect(damaged.requests.head).toBe(2 + 1);
  expect(damaged.report.corrupt).toEqual([
    { name: "tpu_0/shard_0001.safetensors", reason: expect.stringMatching(/^\d+ bytes, \d+ committed/) },
  ]);
});
