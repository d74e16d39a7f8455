// The expected size of a run, as `extract` says it before it starts, held to what the run then holds.

import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { runSluice, smallRun, temporaryFolder, tokenRecords, writeJsonl } from "../helpers.js";

async function sizeOf(run: string): Promise<number> {
  const names = await readdir(run, { recursive: true });
  const own = names.filter((name) => !/^(workers|model|leases|\.tmp)(\/|$)/.test(name));
  const facts = await Promise.all(own.map((name) => stat(join(run, name))));
  return facts.filter((f) => f.isFile()).reduce((sum, f) => sum + f.size, 0);
}

it.each([
  ["every row of two layers, two streams", 20, []],
  ["one row a sample", 200, ["--positions", "last", "--hooks", "resid_post,mlp_out"]],
  ["float32, half of the records", 100, ["--dtype", "float32", "--max-samples", "200"]],
])("is within a tenth of the real size: %s", async (_, perShard, flags) => {
  const folder = await temporaryFolder();
  const dataset = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(400));
  const streams = join(folder, "streams");
  await runSluice(["streams", "--dataset", dataset, "--num-streams", "2", "--output-dir", streams]);
  const run = join(folder, "run");
  const ended = await runSluice([
    ...smallRun(streams, run, ...flags),
    "--samples-per-shard",
    String(perShard), // The last one counts.
  ]);
  expect(ended).toMatchObject({ code: 0 });
  expect(ended.stderr).toMatch(/about \d[\d.]* [kM]B in \d+ shards to come; [\d.]+ [kMGT]B free/);
  const { expected } = JSON.parse(await readFile(join(run, "run.json"), "utf8")).record;
  const summary = JSON.parse(await readFile(join(run, "index.json"), "utf8"));
  expect(expected).toMatchObject({ records: summary.records, shards: summary.shards.length });
  expect(Math.abs(expected.samples / summary.samples - 1)).toBeLessThan(0.01);
  expect(Math.abs(expected.tokens / summary.tokens - 1)).toBeLessThan(0.1);
  expect(Math.abs(expected.bytes / (await sizeOf(run)) - 1)).toBeLessThan(0.1);
});
