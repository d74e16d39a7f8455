// `--like RUN`: a layer added later, or another model, joins the first run row by row; what would not is refused by name.

import { cp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, expect, it } from "vitest";
import { addLikeFlags } from "../../src/cli/like-flags.js";
import { openRunForReading, type ReadableRun } from "../../src/read/open-run.js";
import { readTensor } from "../../src/read/read-tensor.js";
import { FileStore } from "../../src/store/file.js";
import {
  BUNDLED_MODEL,
  runSluice,
  smallRun,
  TINY_MODEL,
  temporaryFolder,
  tokenRecords,
  writeJsonl,
} from "../helpers.js";

const OTHER_MODEL = fileURLToPath(new URL("../fixtures/models/llama-head-dim", import.meta.url));
const JOINED = [
  "sample_ids",
  "sample_parts",
  "sample_offsets",
  "token_ids",
  "positions",
  "input_ids",
  "input_offsets",
];

const openRun = (folder: string) => openRunForReading(new FileStore(folder));

/** The tensors by which two runs are joined, shard by shard. */
async function indexOf({ log, store }: ReadableRun): Promise<string[]> {
  const shards: string[] = [];
  for await (const commit of log.commits()) {
    const tensors = await Promise.all(JOINED.map((name) => readTensor(store, commit, name)));
    shards.push(`${commit.data} ${tensors.map((bytes) => Buffer.from(bytes).toString("hex")).join(" ")}`);
  }
  return shards;
}

/** A run of random positions, in three shards. */
async function makeRun(folder: string): Promise<{ dataset: string; run: string }> {
  const dataset = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(20));
  const run = join(folder, "run");
  const flags = [
    "--positions",
    "random:5",
    "--seed",
    "7",
    "--layers",
    "1",
    "--max-seq-length",
    "30",
    "--too-long",
    "window",
  ];
  const ended = await runSluice(smallRun(dataset, run, ...flags));
  expect(ended, ended.stderr).toMatchObject({ code: 0 });
  return { dataset, run };
}

it("takes samples, rows and positions from the run, for another layer and for another model", async () => {
  const folder = await temporaryFolder();
  const { dataset, run } = await makeRun(folder);
  const first = await openRun(run);
  const expected = await indexOf(first);
  expect(expected.length).toBe(3);
  const like = (model: string, output: string, ...more: string[]) => [
    ...[
      "extract",
      "--like",
      run,
      "--model",
      model,
      "--dataset",
      dataset,
      "--output",
      output,
      "--threads",
      "1",
    ],
    ...more,
  ];
  const later = join(folder, "later");
  const ended = await runSluice(like(TINY_MODEL, later, "--layers", "0", "--hooks", "mlp_out,q"));
  expect(ended, ended.stderr).toMatchObject({ code: 0 });
  const second = await openRun(later);
  expect(await indexOf(second)).toEqual(expected);
  expect(second.run.identity).toMatchObject({
    like: first.run.run,
    taps: ["blocks.0.attn.hook_q", "blocks.0.hook_mlp_out"],
  });

  const crossed = join(folder, "crossed");
  const other = await runSluice(like(OTHER_MODEL, crossed, "--positions", "random:5", "--dtype", "float32"));
  expect(other, other.stderr).toMatchObject({ code: 0 });
  expect(await indexOf(await openRun(crossed))).toEqual(expected);

  // A worker that does not compare must not join those that do.
  const stranger = await runSluice(
    smallRun(
      dataset,
      later,
      ...["--positions", "random:5", "--seed", "7", "--layers", "0", "--hooks", "mlp_out,q"],
      ...["--max-seq-length", "30", "--too-long", "window"],
    ),
  );
  expect(stranger).toMatchObject({
    code: 78,
    stderr: expect.stringContaining(`like: the run has "${first.run.run}"`),
  });

  const edited = await writeJsonl(join(folder, "e.jsonl"), tokenRecords(20, 2));
  const refused = await runSluice([...like(TINY_MODEL, join(folder, "x")), "--dataset", edited]);
  expect(refused).toMatchObject({
    code: 78,
    stderr: expect.stringMatching(/dataset are not those of the run at .*run \(--like\)/),
  });

  await refuseFlags(run);
  await rm(join(run, "tpu_0/shard_0002.json"));
  await expect(addLikeFlags({ like: run })).rejects.toMatchObject({
    kind: "config",
    message: expect.stringMatching(/is not complete.*2 of 3 shards/),
  });
  await expect(addLikeFlags({ like: join(folder, "none") })).rejects.toMatchObject({ kind: "config" });
});

async function refuseFlags(run: string): Promise<void> {
  for (const [flags, found, theirs] of [
    [{ positions: "all" }, "--positions all", "random:5"],
    [{ seed: "8" }, "--seed 8", "7"],
    [{ skipSpecial: true }, "--skip-special", "none"],
    [{ maxSeqLength: "31" }, "--max-seq-length 31", "30"],
    [{ tooLong: "skip" }, "--too-long skip", "window"],
    [{ samplesPerShard: "9" }, "--samples-per-shard 9", "8"],
    [{ shardSize: "1GB" }, "--shard-size 1GB", "8 samples a shard"],
    [{ contextSize: "8" }, "--context-size 8", "none"],
    [{ keepColumns: "a" }, "--keep-columns a", "none"],
    [{ maxSamples: "3" }, "--max-samples 3", "none"],
  ] as const) {
    await expect(addLikeFlags({ like: run, ...flags }), found).rejects.toMatchObject({
      kind: "config",
      message: expect.stringContaining(`found ${found}; expected that run's: ${theirs}`),
    });
  }
  const same = { like: run, positions: " random:5", seed: "07", maxSeqLength: "30", samplesPerShard: "8" };
  expect(await addLikeFlags(same)).toMatchObject({
    tooLong: "window",
    stride: "30",
    maxParts: "64",
    bos: "tokenizer",
  });
  expect(await addLikeFlags({ positions: "all" })).toEqual({ positions: "all" });
}

let forgetful = "";
beforeAll(async () => {
  const tokenizer = JSON.parse(await readFile(join(BUNDLED_MODEL, "tokenizer.json"), "utf8"));
  tokenizer.model.merges = tokenizer.model.merges.slice(0, 10);
  forgetful = JSON.stringify(tokenizer);
});

it("refuses a model that reads the records as other tokens, and names the unit", async () => {
  const folder = await temporaryFolder();
  const dataset = await writeJsonl(join(folder, "d.jsonl"), [
    { text: "input 0 0 0 output 1 1 1" },
    { text: "0" },
  ]);
  const other = join(folder, "other");
  await cp(BUNDLED_MODEL, other, { recursive: true });
  await writeFile(join(other, "tokenizer.json"), forgetful);
  const run = join(folder, "run");
  const flags = (model: string, output: string) => [
    ...[
      "extract",
      "--model",
      model,
      "--dataset",
      dataset,
      "--output",
      output,
      "--threads",
      "1",
      "--layers",
      "0",
    ],
  ];
  expect(await runSluice(flags(BUNDLED_MODEL, run))).toMatchObject({ code: 0 });
  const refused = await runSluice([...flags(other, join(folder, "crossed")), "--like", run]);
  expect(refused).toMatchObject({
    code: 78,
    stderr: expect.stringContaining(`the token ids of tpu_0/shard_0001 are not those of the run at ${run}`),
  });
});
