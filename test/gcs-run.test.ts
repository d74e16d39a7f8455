// A whole run in a bucket of Google Cloud Storage, as an existing launch script starts it, and what is refused. More of it:
// test/integration/gcs-run.test.ts.

import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { resolveExtractOptions } from "../src/cli/extract-options.js";
import { realEnvironment } from "../src/run/environment.js";
import { extract } from "../src/run/extract.js";
import { GcsStore } from "../src/store/gcs.js";
import type { RetryOptions } from "../src/store/retry.js";
import { FakeGcs } from "./fake-gcs.js";
import { runSluice, smallRun, TINY_MODEL, temporaryFolder, tokenRecords, writeJsonl } from "./helpers.js";

let server: FakeGcs;
let folder: string;
let dataset: string;
beforeEach(async () => {
  server = await new FakeGcs().start();
  folder = await temporaryFolder();
  dataset = await writeJsonl(join(folder, "data.jsonl"), tokenRecords(20));
});
afterEach(() => server.stop());

const env = () => ({ STORAGE_EMULATOR_HOST: server.url, TMPDIR: folder });

it("is what UPLOAD_TO_GCS of an existing launch script means, and OUTPUT_DIR is the spool then", async () => {
  const spool = join(folder, "out");
  const variables = { ...env(), UPLOAD_TO_GCS: "true", GCS_BUCKET: "bucket", OUTPUT_DIR: spool };
  const flags = smallRun(dataset, "").filter(
    (flag, i, all) => flag !== "--output" && all[i - 1] !== "--output",
  );
  expect(await runSluice(flags, variables)).toMatchObject({ code: 0 });
  expect(await readdir(spool)).toEqual([]);
  // `commits.json` is written where the stream's files were not just written: when that is, is drawn by chance.
  const names = [...server.objects.keys()].filter(
    (name) => !/^activations\/(workers|leases|model)\/|\/commits\.json$/.test(name),
  );
  expect(names.sort()).toEqual(
    [
      "checkpoints/checkpoint_worker_0.json",
      "index.json",
      "run.json",
      ...[
        "metadata.json",
        "shard_0001.json",
        "shard_0001.safetensors",
        "shard_0002.json",
        "shard_0002.safetensors",
      ].map((name) => `tpu_0/${name}`),
      "tpu_0/shard_0003.json",
      "tpu_0/shard_0003.safetensors",
      "units/tpu_0.bin",
    ].map((name) => `activations/${name}`),
  );
});

it("is refused by name where the bucket or the permission is missing", async () => {
  const nowhere = await runSluice(smallRun(dataset, "gs://nowhere/run"), env());
  expect(nowhere).toMatchObject({ code: 78 });
  expect(nowhere.stderr).toContain("there is no bucket gs://nowhere");
  server.fault = () => ({ kind: "status", status: 403, message: "no access" });
  const denied = await runSluice(["verify", "gs://bucket/run"], env());
  expect(denied).toMatchObject({ code: 78 });
  expect(denied.stderr).toContain("no permission");
});

it("ends with 74 and the cause where the store cannot be reached, having said so before", async () => {
  const flags = {
    model: TINY_MODEL,
    dataset,
    output: "gs://bucket/run",
    samplesPerShard: "8",
    threads: "1",
    spool: folder,
  };
  const warnings: string[] = [];
  const reporter = {
    note: () => {},
    warn: (text: string) => warnings.push(text),
    reading: () => {},
    started: () => {},
  };
  const clock = { ...realEnvironment.clock, sleep: async () => {} };
  // Until the first shard is uploaded all goes well.
  server.fault = ({ object }) =>
    /shard_0001\.safetensors$/.test(object) ? { kind: "status", status: 503 } : undefined;
  const environment = {
    ...realEnvironment,
    openStore: (uri: string, options: RetryOptions) =>
      new GcsStore(uri, { ...options, attempts: 4, clock, emulator: server.url }),
  };
  await expect(extract(resolveExtractOptions(flags, {}), reporter, environment)).rejects.toMatchObject({
    kind: "store",
    exitCode: 74,
    message: expect.stringMatching(
      /^gs:\/\/bucket\/run\/tpu_0\/shard_0001\.safetensors cannot be reached: create failed 4 times; found HTTP 503/,
    ),
  });
  expect(
    warnings.filter((text) =>
      /shard_0001\.safetensors fails \(HTTP 503: a fault\): retry [23] of 3/.test(text),
    ),
  ).toHaveLength(2);
});
