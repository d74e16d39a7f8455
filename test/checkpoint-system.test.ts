// The cases that users of the Python pipeline know, on ours.

import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { resolveExtractOptions, resolveWorkerId } from "../src/cli/extract-options.js";
import { callSluice, runSluice, smallRun, temporaryFolder, tokenRecords, writeJsonl } from "./helpers.js";

describe("the worker's id", () => {
  it("comes from TPU_WORKER_ID, then WORKER_ID, else it is 0", () => {
    expect(resolveWorkerId(undefined, { TPU_WORKER_ID: "5", WORKER_ID: "7" })).toBe(5);
    expect(resolveWorkerId(undefined, { WORKER_ID: "7" })).toBe(7);
    expect(resolveWorkerId(undefined, {})).toBe(0);
  });

  it("can be given explicitly, which wins", () => {
    expect(resolveWorkerId("3", { TPU_WORKER_ID: "5" })).toBe(3);
  });

  it("is refused where it is no number", () => {
    expect(() => resolveWorkerId(undefined, { TPU_WORKER_ID: "five" })).toThrow(/TPU_WORKER_ID/);
  });
});

describe("the environment of existing launch scripts", () => {
  const env = {
    MODEL_PATH: "m",
    DATASET_DIR: "d",
    OUTPUT_DIR: "o",
    BATCH_SIZE: "4",
    SHARD_SIZE_GB: "0.5",
    MAX_SEQ_LENGTH: "512",
    CHECKPOINT_DIR: "c",
  };

  it("is honoured", () => {
    const expected = {
      model: "m",
      dataset: "d",
      output: "o",
      batchSize: 4,
      shardBytes: 5e8,
      maxSeqLength: 512,
      checkpointDir: "c",
    };
    expect(resolveExtractOptions({}, env)).toMatchObject(expected);
  });

  it("loses against a flag", () => {
    expect(resolveExtractOptions({ model: "other", maxSeqLength: "64" }, env)).toMatchObject({
      model: "other",
      maxSeqLength: 64,
    });
  });

  it("never turns an upload into a silent local run", () => {
    const cloud = { ...env, UPLOAD_TO_GCS: "true", GCS_BUCKET: "bucket" };
    expect(resolveExtractOptions({}, cloud).output).toBe("gs://bucket/activations");
    expect(resolveExtractOptions({}, { ...cloud, GCS_PREFIX: "p" }).output).toBe("gs://bucket/p");
    const slashes = { ...cloud, GCS_BUCKET: "gs://bucket/", GCS_PREFIX: "/a/b/" };
    expect(resolveExtractOptions({}, slashes).output).toBe("gs://bucket/a/b");
  });

  it("takes OUTPUT_DIR for the spool of an upload, and for that alone", () => {
    const cloud = { ...env, UPLOAD_TO_GCS: "true", GCS_BUCKET: "bucket" };
    expect(resolveExtractOptions({}, cloud).spool).toBe(env.OUTPUT_DIR);
    expect(resolveExtractOptions({ spool: "/s" }, cloud).spool).toBe("/s");
    expect(resolveExtractOptions({ output: "gs://other/x" }, cloud).spool).toBeUndefined();
    expect(resolveExtractOptions({}, env)).toMatchObject({ output: env.OUTPUT_DIR, spool: undefined });
  });
});

describe("the checkpoint", () => {
  it("is saved, loaded, kept per worker in folders tpu_N, and starts afresh where it is missing", async () => {
    const folder = await temporaryFolder();
    const source = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(60));
    const streams = join(folder, "streams");
    expect(
      await callSluice(["streams", "--dataset", source, "--num_streams", "6", "--output_dir", streams]),
    ).toMatchObject({ code: 0 });
    const run = join(folder, "run");
    const copies = join(folder, "checkpoints");
    const work = () =>
      runSluice(smallRun(streams, run, "--no-steal"), { TPU_WORKER_ID: "5", CHECKPOINT_DIR: copies });
    expect(await work()).toMatchObject({ code: 0 });
    const checkpoint = JSON.parse(await readFile(join(run, "checkpoints/checkpoint_worker_5.json"), "utf8"));
    expect(checkpoint).toMatchObject({
      worker_id: 5,
      last_processed_sample_idx: 9,
      total_samples_processed: 10,
      total_shards: 2,
      status: "complete",
      dataset_path: streams,
    });
    expect(JSON.parse(await readFile(join(copies, "checkpoint_worker_5.json"), "utf8"))).toEqual(checkpoint);
    expect(JSON.parse(await readFile(join(run, "tpu_5/metadata.json"), "utf8"))).toMatchObject({
      total_shards: 2,
      total_activations: 20,
      total_unique_samples: 10,
      layers: [0, 1],
    });
    expect((await work()).stdout).toContain("Nothing left to do");
    await rm(join(run, "tpu_5"), { recursive: true });
    const afresh = await work();
    expect(afresh.stdout).toContain("this worker made 2 shards");
  });

  it.each([1, 7])(
    "says complete in its copy too, where worker %i has helped with all streams",
    async (id) => {
      const folder = await temporaryFolder();
      const source = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(30));
      const streams = join(folder, "streams");
      const split = ["streams", "--dataset", source, "--num-streams", "3", "--output-dir", streams];
      expect(await callSluice(split)).toMatchObject({ code: 0 });
      const run = join(folder, "run");
      const copies = join(folder, "checkpoints");
      const name = `checkpoint_worker_${id}.json`;
      const work = async () => {
        expect(
          await runSluice(smallRun(streams, run), { TPU_WORKER_ID: String(id), CHECKPOINT_DIR: copies }),
        ).toMatchObject({ code: 0 });
        const checkpoint = JSON.parse(await readFile(join(run, "checkpoints", name), "utf8"));
        expect(checkpoint).toMatchObject({
          worker_id: id,
          total_samples_processed: id === 1 ? 10 : 0,
          status: "complete",
        });
        expect(JSON.parse(await readFile(join(copies, name), "utf8"))).toEqual(checkpoint);
      };
      await work();
      await rm(copies, { recursive: true });
      await work();
    },
  );
});
