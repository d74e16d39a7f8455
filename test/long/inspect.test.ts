// `sluice inspect` and `verify` on runs of every kind: norms are those of PyTorch's values, samples are found by record and by
// id, and values that are not finite are named, counted and no reason to stop.

import { cp, open, readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { z } from "zod";
import { headerLength, parseSafetensorsHeader } from "../../src/base/safetensors-header.js";
import type { InspectedSample, Inspection } from "../../src/read/inspect.js";
import {
  BUNDLED_MODEL,
  callSluice,
  runSluice,
  smallRun,
  TINY_MODEL,
  temporaryFolder,
  tokenRecords,
  writeJsonl,
} from "../helpers.js";

const casesSchema = z.object({
  cases: z.array(z.object({ name: z.string(), samples: z.array(z.array(z.number())) })),
});

/** Where a tensor lies in a safetensors file. */
async function findTensor(file: string, name: string) {
  const bytes = await readFile(file);
  const length = headerLength(bytes, bytes.length, file);
  const { tensors } = parseSafetensorsHeader(bytes.subarray(8, 8 + length), bytes.length, file);
  const found = tensors.find((tensor) => tensor.name === name);
  if (!found) throw new Error(`${file} has no ${name}`);
  return { ...found, bytes: Uint8Array.from(bytes.subarray(found.start, found.end)) };
}

async function inspect(run: string, ...flags: string[]): Promise<Inspection> {
  const ended = await callSluice(["inspect", run, "--json", ...flags]);
  expect(ended, ended.stderr).toMatchObject({ code: 0 });
  return JSON.parse(ended.stdout) as Inspection;
}

const byPlace = (sample: InspectedSample | undefined) => sample?.rows.map(({ position }) => position);

it("shows each token beside the norms of its rows, which are PyTorch's", async () => {
  const folder = await temporaryFolder();
  const { cases } = casesSchema.parse(JSON.parse(await readFile(join(TINY_MODEL, "cases.json"), "utf8")));
  const ids = cases.find(({ name }) => name === "one")?.samples[0] ?? [];
  const records = [
    ...tokenRecords(9).map((r) => ({ ...r, id: `other-${r.id}` })),
    { id: "00576224", token_ids: ids },
  ];
  const dataset = await writeJsonl(join(folder, "d.jsonl"), [
    ...records,
    { id: "unusable", token_ids: [999] },
  ]);
  const run = join(folder, "run");
  const made = await runSluice(smallRun(dataset, run, "--hooks", "resid_post,q", "--dtype", "float32"));
  expect(made, made.stderr).toMatchObject({ code: 0 });
  const [sample, ...others] = (await inspect(run, "--sample", "00576224")).first;
  expect(others).toEqual([]);
  expect(sample).toMatchObject({
    record: 9,
    part: 0,
    tokens: ids.length,
    rows_stored: ids.length,
    text: null,
  });
  for (const hook of ["hook_resid_post", "attn.hook_q"]) {
    const name = `blocks.1.${hook}`;
    const { bytes } = await findTensor(join(TINY_MODEL, "expected.safetensors"), `one/0/${name}`);
    const values = new Float32Array(bytes.buffer);
    const width = values.length / ids.length;
    for (const [i, row] of (sample?.rows ?? []).entries()) {
      expect(row).toMatchObject({
        position: i,
        token_id: ids[i],
        token: null,
        flags: i === ids.length - 1 ? 32 : 0,
      });
      expect(row.norms[name]).toBeCloseTo(Math.hypot(...values.subarray(i * width, (i + 1) * width)), 3);
    }
  }
  const byRecord = await inspect(
    run,
    "--record",
    "9",
    "--rows",
    "3",
    "--hooks",
    "resid_post",
    "--layers",
    "0",
  );
  expect(byPlace(byRecord.first[0])).toEqual([0, 1, ids.length - 1]);
  expect(Object.keys(byRecord.first[0]?.rows[0]?.norms ?? {})).toEqual(["blocks.0.hook_resid_post"]);
  const first = await inspect(run, "--samples", "3");
  expect(first.first.map(({ record }) => record)).toEqual([0, 1, 2]);
  expect(Object.keys(first.statistics)).toHaveLength(4);
  for (const flags of [
    ["--record", "10"],
    ["--sample", "unusable"],
  ])
    expect(await callSluice(["inspect", run, ...flags])).toMatchObject({
      code: 65,
      stderr: expect.stringContaining("left out: token id 999 is outside the vocabulary"),
    });
  expect(await callSluice(["inspect", run, "--sample", "nobody"])).toMatchObject({ code: 65 });
  expect(await callSluice(["inspect", run, "--sample", "a", "--record", "1"])).toMatchObject({ code: 64 });
});

it("decodes tokens, and shows rows of all tokens together as that", async () => {
  const folder = await temporaryFolder();
  const dataset = await writeJsonl(join(folder, "d.jsonl"), [{ text: "Pair 1\nInput 3x3\n1: 0 7 7" }]);
  const flags = ["extract", "--model", BUNDLED_MODEL, "--dataset", dataset, "--threads", "1"];
  const all = join(folder, "all");
  expect(await runSluice([...flags, "--output", all])).toMatchObject({ code: 0 });
  const shown = await callSluice(["inspect", all]);
  expect(shown.stdout).toMatch(/place +id +token +flags +resid_post\.0 .*resid_post\.5/);
  expect(shown.stdout).toMatch(/\n {2}0 +277 +"Pair" +\d+\.\d+/);
  expect(shown.stdout).toMatch(/\n {2}2 +201 +"\\n" /);
  expect(shown.stdout).toMatch(/last +\d/);
  const mean = join(folder, "mean");
  expect(await runSluice([...flags, "--output", mean, "--positions", "mean"])).toMatchObject({ code: 0 });
  const [sample] = (await inspect(mean)).first;
  expect(sample).toMatchObject({
    rows_stored: 1,
    rows: [{ position: null, token_id: null, token: null, flags: 0 }],
  });
  const pickled = join(folder, "pickled");
  expect(await runSluice([...flags, "--output", pickled, "--format", "pkl.gz"])).toMatchObject({ code: 0 });
  const text = await callSluice(["inspect", pickled]);
  expect(text.stdout).toMatch(/no index.*\n\nstatistics[\s\S]*blocks\.5\.hook_resid_post/);
  expect(await callSluice(["inspect", pickled, "--record", "0"])).toMatchObject({ code: 64 });
});

it("names the samples with NaN in a warning, in the commit, in inspect and in verify, and goes on", async () => {
  const folder = await temporaryFolder();
  const model = join(folder, "model");
  await cp(TINY_MODEL, model, { recursive: true });
  const embedding = await findTensor(join(model, "model.safetensors"), "model.embed_tokens.weight");
  expect(embedding).toMatchObject({ dtype: "BF16" });
  const file = await open(join(model, "model.safetensors"), "r+");
  await file.write(Uint8Array.of(0xc0, 0x7f), 0, 2, embedding.start + 7 * 48 * 2); // NaN.
  await file.close();
  const records = Array.from({ length: 20 }, (_, i) => ({ token_ids: i % 3 === 1 ? [1, 7, 2] : [1, 3, 2] }));
  const dataset = await writeJsonl(join(folder, "d.jsonl"), records);
  const run = join(folder, "run");
  const made = await runSluice([...smallRun(dataset, run, "--hooks", "embed,resid_post"), "--model", model]);
  expect(made, made.stderr).toMatchObject({ code: 0 });
  expect(made.stderr).toMatch(
    /values that are not finite in tpu_0\/shard_0001\.safetensors:\n {2}hook_embed: 3 NaN, 0 infinite; 3 samples: record 1 \(1 NaN\), record 4 \(1 NaN\), record 7 \(1 NaN\)/,
  );
  const damaged = records.flatMap(({ token_ids }, record) => (token_ids.includes(7) ? [record] : []));
  const commit = JSON.parse(await readFile(join(run, "tpu_0/shard_0002.json"), "utf8"));
  expect(
    commit.non_finite["blocks.1.hook_resid_post"].first.map((s: { record: number }) => s.record),
  ).toEqual([10, 13]);
  const { non_finite: found, statistics } = await inspect(run);
  expect(Object.keys(found)).toEqual(["hook_embed", "blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]);
  expect(found.hook_embed?.samples).toBe(damaged.length);
  expect(found.hook_embed?.first).toEqual(damaged.map((record) => ({ record, part: 0, nan: 1, inf: 0 })));
  expect(statistics.hook_embed).toMatchObject({
    nan: damaged.length,
    inf: 0,
    count: 20 * 3 * 48 - damaged.length,
  });
  const text = await callSluice(["inspect", run, "--record", "1"]);
  expect(text.stdout).toMatch(/NaN and infinite values\n {2}hook_embed: 7 samples: record 1 \(1 NaN\)/);
  expect(text.stdout).toMatch(/\n {2}1 +7 +not finite/);
  const verified = await callSluice(["verify", run, "--deep"]);
  expect(verified).toMatchObject({
    code: 0,
    stdout: expect.stringContaining("tensors with NaN or infinite values: 3"),
  });
});
