// `verify --dataset`: the records of a run held against a dataset.

import { appendFile, readFile, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { openRunForReading } from "../../src/read/open-run.js";
import { isBroken, verifyRun } from "../../src/read/verify.js";
import { FileStore } from "../../src/store/file.js";
import { runSluice, smallRun, temporaryFolder, tokenRecords, writeJsonl } from "../helpers.js";

async function makeRun(streams: number) {
  const folder = await temporaryFolder();
  const file = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(40));
  const dataset = streams === 1 ? file : join(folder, "streams");
  if (streams > 1)
    await runSluice([
      "streams",
      "--dataset",
      file,
      "--num-streams",
      String(streams),
      "--output-dir",
      dataset,
    ]);
  const run = join(folder, "run");
  expect(await runSluice(smallRun(dataset, run))).toMatchObject({ code: 0 });
  const verify = async (path = dataset) => {
    const report = await verifyRun(await openRunForReading(new FileStore(run)), {
      deep: false,
      dataset: path,
    });
    return { isBroken: isBroken(report), differences: report.dataset?.differences ?? [] };
  };
  return { folder, dataset, run, verify };
}

it("says that the records are the dataset's, wherever it lies now", async () => {
  const { folder, dataset, run, verify } = await makeRun(1);
  const copy = join(folder, "moved.jsonl");
  await writeFile(copy, await readFile(dataset));
  expect(await verify(copy)).toEqual({ isBroken: false, differences: [] });
  const plain = await runSluice(["verify", run, "--dataset", copy]);
  expect(plain).toMatchObject({
    code: 0,
    stdout: expect.stringContaining(`the records are those of ${copy}`),
  });
  expect(JSON.parse((await runSluice(["verify", run, "--json"])).stdout).dataset).toBeNull();
});

it("names the unit and the records that differ, also without the run's own table", async () => {
  const { dataset, run, verify } = await makeRun(1);
  const text = await readFile(dataset, "utf8");
  await writeFile(dataset, text.replace('"r25"', '"R25"'));
  const expected = { unit: "tpu_0/shard_0004", stream: 0, records: [24, 32] };
  const seen = await verify();
  expect(seen.isBroken).toBe(true);
  expect(seen.differences).toEqual([
    { ...expected, reason: "its bytes are not those of the run's creation" },
  ]);
  await unlink(join(run, "units/tpu_0.bin"));
  expect((await verify()).differences).toEqual([
    { ...expected, reason: "its commit was computed from other bytes" },
  ]);
  const plain = await runSluice(["verify", run, "--dataset", dataset]);
  expect(plain).toMatchObject({ code: 65 });
  expect(plain.stdout).toContain("tpu_0/shard_0004, records 24 to 31 of stream 0: its commit was computed");
});

it("sees a commit that was computed from other bytes", async () => {
  const { run, verify } = await makeRun(1);
  const file = join(run, "tpu_0/shard_0002.json");
  const commit = JSON.parse(await readFile(file, "utf8"));
  await writeFile(file, JSON.stringify({ ...commit, unit_sha256: "0".repeat(64) }));
  expect((await verify()).differences).toEqual([
    {
      unit: "tpu_0/shard_0002",
      stream: 0,
      records: [8, 16],
      reason: "its commit was computed from other bytes",
    },
  ]);
});

it("sees records that were appended, cut off, or moved to another stream", async () => {
  const { folder, dataset, verify } = await makeRun(2);
  const second = join(dataset, "stream_001.jsonl");
  const text = await readFile(second, "utf8");
  // 20 records a stream: two full units and one of four, which the appended line joins.
  await appendFile(second, '{"token_ids": [1]}\n');
  expect((await verify()).differences).toMatchObject([{ unit: "tpu_1/shard_0003", records: [16, 20] }]);
  await writeFile(second, text.split("\n").slice(0, 16).join("\n").concat("\n"));
  expect((await verify()).differences).toMatchObject([
    { unit: "tpu_1/shard_0003", reason: "the dataset ends before it" },
  ]);
  await writeFile(second, await readFile(join(dataset, "stream_000.jsonl")));
  expect((await verify()).differences).toHaveLength(3);
  expect(await verify(join(folder, "d.jsonl"))).toMatchObject({
    isBroken: true,
    differences: [{ unit: null, reason: "it has 1 streams, the run 2" }],
  });
  expect(await runSluice(["verify", join(folder, "run"), "--dataset", "/nowhere.jsonl"])).toMatchObject({
    code: 78,
    stderr: expect.stringContaining("there is no dataset at /nowhere.jsonl"),
  });
});

it("sees whole units that were appended", async () => {
  const { dataset, verify } = await makeRun(1);
  await appendFile(dataset, '{"token_ids": [1]}\n'.repeat(9));
  expect((await verify()).differences).toMatchObject([
    { unit: null, stream: 0, reason: "9 records were appended" },
  ]);
});
