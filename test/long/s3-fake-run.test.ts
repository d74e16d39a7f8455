// A run that lives in a bucket: made by a worker that is killed and one that goes on, read, and byte for byte what a
// run in a folder is. The server is the fake; `integration/s3-run.test.ts` has a real one.

import { createHash } from "node:crypto";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { FakeS3 } from "../fake-s3.js";
import {
  hashData,
  runSluice,
  smallRun,
  startSluice,
  temporaryFolder,
  tokenRecords,
  writeJsonl,
} from "../helpers.js";

const UNITS = 6;
let server: FakeS3;
beforeAll(async () => {
  server = await FakeS3.start({ pageSize: 10 });
});
afterAll(() => server.close());

it("is killed, goes on, and can be read", async () => {
  const folder = await temporaryFolder();
  const dataset = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(8 * UNITS));
  expect((await runSluice(smallRun(dataset, join(folder, "local")))).code).toBe(0);
  const run = `s3://${server.bucket}/some/run`;
  const spool = ["--spool", join(folder, "spool")];
  const worker = startSluice(smallRun(dataset, run, ...spool), server.env);
  server.beforeNext(
    ({ method, key }) => method === "PUT" && key === "some/run/tpu_0/shard_0003.json",
    () => worker.child.kill("SIGKILL"),
  );
  expect(await worker.ended).toMatchObject({ signal: "SIGKILL" });
  const resumed = await runSluice(smallRun(dataset, run, ...spool), server.env);
  expect(resumed.code, resumed.stderr).toBe(0);
  expect(resumed.stdout).toContain(`${UNITS} of ${UNITS} shards are committed in ${run}`);

  const there: Record<string, string> = {};
  for (const [key, { bytes }] of server.objects)
    if (key.endsWith(".safetensors"))
      there[key.slice("some/run/".length)] = createHash("sha256").update(bytes).digest("hex");
  expect(there).toEqual(await hashData(join(folder, "local")));

  expect(await runSluice(["verify", run, "--deep"], server.env)).toMatchObject({ code: 0, stderr: "" });
  expect((await runSluice(["export", run], server.env)).code).toBe(64);
});

it("says what is wrong with a bucket, in one line and with the right code", async () => {
  const folder = await temporaryFolder();
  const dataset = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(8));
  const other = await runSluice(smallRun(dataset, "s3://no-bucket/run"), server.env);
  expect(other).toMatchObject({
    code: 78,
    stderr: expect.stringContaining("there is no bucket s3://no-bucket"),
  });
  const unknown = await runSluice(["status", `s3://${server.bucket}/none`], server.env);
  expect(unknown).toMatchObject({ code: 78, stderr: expect.stringContaining("there is no run at s3://") });
});
