// A run in a bucket of a real S3 server, with shards that go up in several parts, by way of a proxy that fails one request in eight:
// killed, resumed, and read by every command. Byte for byte what a run in a folder is.

import { createHash } from "node:crypto";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { S3Store } from "../../src/store/s3.js";
import { FaultyProxy, USUAL_RATES } from "../faulty-proxy.js";
import { Hold } from "../held.js";
import {
  BUNDLED_MODEL,
  hashData,
  runSluice,
  startSluice,
  temporaryFolder,
  tokenRecords,
  until,
  writeJsonl,
} from "../helpers.js";
import { BUCKET, type S3Server, startVersitygw, VERSITYGW } from "./versitygw.js";

const RECORDS = 1200;
const RUN = `s3://${BUCKET}/activations/run`;

describe.skipIf(VERSITYGW === undefined)("versitygw", () => {
  let server: S3Server;
  let proxy: FaultyProxy;
  beforeAll(async () => {
    server = await startVersitygw();
    proxy = await FaultyProxy.start(server.url, { rates: USUAL_RATES });
    Object.assign(process.env, server.env);
  });
  afterAll(async () => {
    await proxy.close();
    await server.stop();
  });

  it("holds a run that was killed and resumed, and every command reads it", async () => {
    const folder = await temporaryFolder();
    const dataset = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(RECORDS));
    const spool = join(folder, "spool");
    const flags = [
      "--model",
      BUNDLED_MODEL,
      "--dataset",
      dataset,
      "--samples-per-shard",
      String(RECORDS / 3),
    ];
    const extract = ["extract", ...flags, "--dtype", "float32", "--lease-seconds", "5"];
    const env = { ...server.env, AWS_ENDPOINT_URL: proxy.url };
    expect((await runSluice([...extract, "--output", join(folder, "local")])).code).toBe(0);
    const local = await hashData(join(folder, "local"));
    expect(Object.keys(local)).toHaveLength(3);

    const toBucket = [...extract, "--output", RUN, "--spool", spool];
    // Killed where it begins with the last of its shards, and the first is stored.
    const hold = new Hold(join(folder, "steps"), "computing into the spool", 3);
    const worker = startSluice(toBucket, { ...env, ...hold.env });
    // By chance one request in eight; for certain one.
    proxy.failNext("droppedAfter", ({ method }) => method === "PUT");
    const store = new S3Store(RUN);
    await hold.reached(worker);
    await until(async () => (await store.head("tpu_0/shard_0001.json")) !== null, worker);
    worker.child.kill("SIGKILL");
    expect(await worker.ended).toMatchObject({ signal: "SIGKILL" });
    const resumed = await runSluice(toBucket, env);
    expect(resumed.code, resumed.stderr).toBe(0);
    console.log(`${proxy.requests} requests; ${JSON.stringify(Object.fromEntries(proxy.happened))}`);
    expect(proxy.happened.size).toBeGreaterThan(0);
    expect(await readdir(spool)).toEqual([]);

    const there: Record<string, string> = {};
    for await (const { name, size, version } of store.list("tpu_0/")) {
      if (!name.endsWith(".safetensors")) continue;
      // In parts: the ETag says in how many.
      expect(size).toBeGreaterThan(16 << 20);
      expect(version).toMatch(/-\d+$/);
      there[name] = createHash("sha256")
        .update(await store.read(name))
        .digest("hex");
    }
    expect(there).toEqual(local);

    for (const args of [
      ["status", RUN],
      ["verify", RUN, "--deep"],
      ["inspect", RUN],
      ["inspect", `${RUN}/tpu_0/shard_0002.safetensors`],
      ["export", RUN, "--output", join(folder, "export")],
    ]) {
      const ended = await runSluice(args, server.env);
      expect(ended.code, `${args.join(" ")}: ${ended.stderr}`).toBe(0);
    }
    const [one, other] = [join(folder, "export"), join(folder, "local/export")];
    expect((await runSluice(["export", join(folder, "local")])).code).toBe(0);
    expect((await readdir(one)).sort()).toEqual((await readdir(other)).sort());
  });
});
