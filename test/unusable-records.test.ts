// Records that cannot be used, wherever they stand: at the start, at the end, a whole unit, the last line; and streams
// without any record, where there are fewer records than streams. Each is in its unit's commit, with its reason, and is neither missing nor doubled.

import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import {
  callSluice,
  listCommits,
  runSluice,
  smallRun,
  temporaryFolder,
  tokenRecords,
  writeJsonl,
} from "./helpers.js";

interface Report {
  readonly records: number;
  readonly expected: number;
  readonly samples: number;
  readonly shards: number;
  readonly skipped: readonly { readonly record: number; readonly id: string; readonly reason: string }[];
}

/** Eight records a unit. Runs `extract`, and `verify --deep` on what it made. */
async function extractAndVerify(dataset: string, run: string, ...more: string[]) {
  expect(await runSluice(smallRun(dataset, run, ...more))).toMatchObject({ code: 0 });
  const verified = await callSluice(["verify", run, "--deep", "--json"]);
  expect(verified.code).toBe(0);
  const report = JSON.parse(verified.stdout) as Report;
  expect(report).toMatchObject({ complete: true, missing: [], duplicated: [], corrupt: [] });
  expect(report.records).toBe(report.expected);
  const commits = await Promise.all(
    (await listCommits(run)).map(async (name) => JSON.parse(await readFile(join(run, name), "utf8"))),
  );
  return { report, commits };
}

/** JSON lines with some of them replaced. */
function linesOf(count: number, replaced: Readonly<Record<number, string>>): string {
  return tokenRecords(count)
    .map((record, i) => `${replaced[i] ?? JSON.stringify(record)}\n`)
    .join("");
}

it("at the start, at the end and in the last line, which has no newline", async () => {
  const folder = await temporaryFolder();
  const dataset = join(folder, "d.jsonl");
  await writeFile(
    dataset,
    linesOf(20, {
      0: "{",
      1: '{"id": "one", "token_ids": ["a"]}',
      18: "[]",
      19: '{"id": "last", "token_ids": [1',
    }).trimEnd(),
  );
  const { report, commits } = await extractAndVerify(dataset, join(folder, "run"));
  expect(report).toMatchObject({ expected: 20, samples: 16, shards: 3 });
  expect(report.skipped).toEqual([
    { record: 0, id: "0", reason: "not valid JSON" },
    { record: 1, id: "one", reason: "token_ids are not whole numbers" },
    { record: 18, id: "18", reason: "not a JSON object" },
    { record: 19, id: "19", reason: "not valid JSON" },
  ]);
  expect(commits.map((c) => [c.records, c.samples, c.skipped.length])).toEqual([
    [[0, 8], 6, 2],
    [[8, 16], 8, 0],
    [[16, 20], 2, 2],
  ]);
});

it("a whole unit: a commit without data where that is allowed, and an error where it is not", async () => {
  const folder = await temporaryFolder();
  const dataset = join(folder, "d.jsonl");
  const broken = Object.fromEntries(Array.from({ length: 10 }, (_, i) => [10 + i, `broken ${i}`]));
  await writeFile(dataset, linesOf(30, broken));
  const refused = await runSluice(smallRun(dataset, join(folder, "strict"), "--samples-per-shard", "10"));
  expect(refused).toMatchObject({
    code: 65,
    stderr: expect.stringContaining("10 of 10 records of stream 0, unit 1 cannot be used"),
  });
  const run = join(folder, "run");
  const { report, commits } = await extractAndVerify(
    dataset,
    run,
    "--samples-per-shard",
    "10",
    "--max-skipped",
    "all",
  );
  expect(report).toMatchObject({ expected: 30, samples: 20, shards: 2 });
  expect(report.skipped.map((s) => s.record)).toEqual(Array.from({ length: 10 }, (_, i) => 10 + i));
  expect(commits[1]).toMatchObject({
    data: null,
    size: 0,
    sha256: null,
    records: [10, 20],
    samples: 0,
    rows: 0,
    tokens: 0,
    tensors: {},
  });
  const metadata = JSON.parse(await readFile(join(run, "tpu_0/metadata.json"), "utf8"));
  expect(metadata).toMatchObject({
    total_shards: 2,
    total_unique_samples: 20,
    total_records: 30,
    skipped: 10,
  });
  const checkpoint = JSON.parse(await readFile(join(run, "checkpoints/checkpoint_worker_0.json"), "utf8"));
  expect(checkpoint).toMatchObject({ last_processed_sample_idx: 29, status: "complete" });
  expect(
    (await runSluice(smallRun(dataset, run, "--samples-per-shard", "10", "--max-skipped", "all"))).stdout,
  ).toContain("Nothing left to do: 3 of 3 shards");
});

it("no usable record at all", async () => {
  const folder = await temporaryFolder();
  const dataset = join(folder, "d.jsonl");
  await writeFile(dataset, "broken\n".repeat(17));
  const { report, commits } = await extractAndVerify(dataset, join(folder, "run"), "--max-skipped", "all");
  expect(report).toMatchObject({ expected: 17, samples: 0, shards: 0 });
  expect(report.skipped).toHaveLength(17);
  expect(commits.map((c) => c.data)).toEqual([null, null, null]);
});

it("fewer records than streams: the empty ones have no unit, and their workers help", async () => {
  const folder = await temporaryFolder();
  const source = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(3));
  const dataset = join(folder, "streams");
  const flags = ["--dataset", source, "--num-streams", "5", "--output-dir", dataset];
  expect(await callSluice(["streams", ...flags])).toMatchObject({ code: 0 });
  const run = join(folder, "run");
  const { report } = await extractAndVerify(dataset, run, "--worker-id", "4");
  expect(report).toMatchObject({ expected: 3, samples: 3, shards: 3, skipped: [] });
  expect(await listCommits(run)).toEqual([0, 1, 2].map((s) => `tpu_${s}/shard_0001.json`));
  const alone = await runSluice(smallRun(dataset, join(folder, "alone"), "--worker-id", "4", "--no-steal"));
  expect(alone, "its own stream is empty, and so done").toMatchObject({ code: 0 });
  expect(await listCommits(join(folder, "alone"))).toEqual([]);
});

it("a stream that was cut short by a copy is refused, and not taken for a shorter dataset", async () => {
  const folder = await temporaryFolder();
  const source = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(6));
  const dataset = join(folder, "streams");
  const flags = ["--dataset", source, "--num-streams", "3", "--output-dir", dataset];
  expect(await callSluice(["streams", ...flags])).toMatchObject({ code: 0 });
  const run = join(folder, "run");
  await writeFile(join(dataset, "stream_001.jsonl"), "");
  expect(await runSluice(smallRun(dataset, run))).toMatchObject({
    code: 78,
    stderr: expect.stringMatching(
      /stream_001\.jsonl is not what sluice streams wrote; found 0 bytes; expected the \d+ bytes/,
    ),
  });
  expect(await listCommits(run)).toEqual([]);
});
