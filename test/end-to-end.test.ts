// The program as a user runs it, on small real models with ONNX Runtime: right numbers, resuming, and clear refusals.

import { createHash } from "node:crypto";
import { readdir, readFile, truncate, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { deflateRawSync, gunzipSync } from "node:zlib";
import { crc32c } from "@node-rs/crc32";
import { expect, it } from "vitest";
import { readFixture, relativeError } from "../src/engine/engine.suite.js";
import { openRunForReading } from "../src/read/open-run.js";
import { readInt64, readTensor } from "../src/read/read-tensor.js";
import { FileStore } from "../src/store/file.js";
import {
  BUNDLED_MODEL,
  callSluice,
  hashData,
  listCommits,
  runSluice,
  smallRun,
  startSluice,
  TINY_MODEL,
  temporaryFolder,
  tokenRecords,
  writeJsonl,
} from "./helpers.js";

it("stores what PyTorch computes, sample by sample, at every hook point", async () => {
  const folder = await temporaryFolder();
  const fixture = readFixture("qwen2-one-kv-head");
  const cases = fixture.cases.flatMap(({ name, samples }) =>
    samples.map((token_ids, s) => ({ token_ids, prefix: `${name}/${s}/` })),
  );
  const dataset = await writeJsonl(
    join(folder, "d.jsonl"),
    cases.map(({ token_ids }) => ({ token_ids })),
  );
  const run = join(folder, "run");
  const ended = await runSluice(smallRun(dataset, run, "--dtype", "float32", "--hooks", "all"));
  expect(ended).toMatchObject({ code: 0 });
  const { log, store } = await openRunForReading(new FileStore(run));
  const [commit] = await log.readAll();
  if (!commit) throw new Error("no commit");
  const offsets = await readInt64(store, commit, "sample_offsets");
  let compared = 0;
  for (const [name, expected] of fixture.expected) {
    const sample = cases.findIndex(({ prefix }) => name.startsWith(prefix));
    const hook = name.slice(cases[sample]?.prefix.length);
    const all = new Float32Array((await readTensor(store, commit, hook)).slice().buffer);
    const width = (commit.tensors[hook]?.shape.slice(1) ?? []).reduce((a, b) => a * b);
    const rows = all.subarray((offsets[sample] ?? 0) * width, (offsets[sample + 1] ?? 0) * width);
    expect(relativeError(rows, expected), name).toBeLessThan(1e-4);
    compared += 1;
  }
  expect(compared).toBe(fixture.expected.size);
  const taps = Object.entries(commit.tensors).filter(([name]) => name.includes("hook_"));
  const block = [
    ...["hook_resid_pre", "attn.hook_q", "attn.hook_k", "attn.hook_v", "attn.hook_rot_q", "attn.hook_rot_k"],
    ...["attn.hook_z", "hook_attn_out", "hook_resid_mid", "mlp.hook_pre", "mlp.hook_pre_linear"],
    ...["mlp.hook_post", "hook_mlp_out", "hook_resid_post"],
  ];
  expect(taps.map(([name]) => name)).toEqual([
    "hook_embed",
    ...[0, 1].flatMap((layer) => block.map((hook) => `blocks.${layer}.${hook}`)),
    "ln_final.hook_normalized",
    "ln_final.hook_out",
  ]);
  const shapes = Object.fromEntries(taps.map(([name, { shape }]) => [name, shape.slice(1)]));
  expect(shapes).toMatchObject({
    "blocks.1.attn.hook_q": [6, 8],
    "blocks.1.attn.hook_rot_k": [1, 8],
    "blocks.1.mlp.hook_post": [80],
    "ln_final.hook_out": [48],
  });
  expect(JSON.parse(await readFile(join(run, "tpu_0/metadata.json"), "utf8"))).toMatchObject({
    layers: [0, 1],
    hooks: expect.arrayContaining(["embed", "q", "mlp_post", "resid_post", "ln_final"]),
    total_activations: cases.length * taps.length,
  });
  const exported = join(folder, "out");
  const flags = ["--hooks", "rot_*", "--layers", "-1", "--to", "npy", "--output", exported];
  expect(await callSluice(["export", run, ...flags])).toMatchObject({ code: 0 });
  expect((await readdir(exported)).filter((file) => file.includes("hook_"))).toEqual([
    "blocks.1.attn.hook_rot_k.npy",
    "blocks.1.attn.hook_rot_q.npy",
  ]);
  const inspected = await callSluice(["inspect", run]);
  expect(inspected.stdout).toContain("ln_final.hook_normalized");
});

it("refuses hooks that the model or the format does not have before a run is created", async () => {
  const folder = await temporaryFolder();
  const dataset = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(3));
  const run = join(folder, "run");
  for (const [flags, message] of [
    [["--hooks", "pos_embed"], "its positions are rotary"],
    [["--hooks", "embed", "--format", "pkl.gz"], "the layer is the key"],
    [["--hooks", "q,k", "--format", "pkl.gz"], "holds one hook"],
  ] as const) {
    const ended = await runSluice(smallRun(dataset, run, ...flags));
    expect(ended).toMatchObject({ code: 64, stderr: expect.stringContaining(message) });
  }
  await expect(readdir(run)).rejects.toThrow("ENOENT");
});

it("goes on where the commits end, and says when nothing is left", async () => {
  const folder = await temporaryFolder();
  const dataset = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(100));
  const run = join(folder, "run");
  const args = smallRun(dataset, run);
  expect((await runSluice(args)).code).toBe(0);
  expect(JSON.parse(await readFile(join(run, "run.json"), "utf8")).record).toMatchObject({
    command: args,
    expected: { records: 100, shards: 13 },
  });
  const whole = await hashData(run);
  expect(Object.keys(whole)).toHaveLength(13);
  const again = await runSluice(smallRun(dataset, run));
  expect(again).toMatchObject({ code: 0 });
  expect(again.stdout).toContain("Nothing left to do: 13 of 13 shards");
  for (const lost of [
    "tpu_0/shard_0003.json",
    "tpu_0/shard_0005.safetensors",
    "units/tpu_0.bin",
    "index.json",
    "run.json",
  ]) {
    await unlink(join(run, lost));
    expect(await runSluice(smallRun(dataset, run))).toMatchObject({ code: 0 });
  }
  expect(await hashData(run)).toEqual(whole);
  const verified = await callSluice(["verify", run, "--deep", "--json"]);
  expect(JSON.parse(verified.stdout)).toMatchObject({
    complete: true,
    records: 100,
    expected: 100,
    samples: 100,
    duplicated: [],
    corrupt: [],
    missing: [],
  });
});

it("finishes its work when nobody reads what it prints", async () => {
  const folder = await temporaryFolder();
  const dataset = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(20));
  const run = join(folder, "run");
  const deaf = startSluice(smallRun(dataset, run));
  deaf.child.stdout?.destroy();
  deaf.child.stderr?.destroy();
  expect(await deaf.ended).toMatchObject({ code: 0 });
  expect(await listCommits(run)).toHaveLength(3);
});

it("keeps an index from which every tensor's place follows", async () => {
  const folder = await temporaryFolder();
  const dataset = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(30));
  const run = join(folder, "run");
  expect(await runSluice(smallRun(dataset, run))).toMatchObject({ code: 0 });
  const index = JSON.parse(await readFile(join(run, "index.json"), "utf8"));
  const { log } = await openRunForReading(new FileStore(run));
  const commits = await log.readAll();
  expect(index.shards).toHaveLength(commits.length);
  for (const [i, shard] of index.shards.entries()) {
    let offset = shard.data_start;
    for (const { name, dtype, axis, row_shape } of index.tensors) {
      const place = commits[i]?.tensors[name];
      const length = axis === "offsets" ? shard.samples + 1 : shard[axis];
      expect(place, name).toMatchObject({ dtype, offset, shape: [length, ...row_shape] });
      offset += place?.length ?? 0;
    }
    expect(offset).toBe(shard.size);
  }
});

it("a pkl.gz shard that another zlib compressed is the same shard", async () => {
  const folder = await temporaryFolder();
  const dataset = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(12));
  const run = join(folder, "run");
  const flags = smallRun(dataset, run, "--format", "pkl.gz");
  expect(await runSluice(flags)).toMatchObject({ code: 0 });
  const shard = join(run, "tpu_0/shard_0002.pkl.gz");
  const before = await readFile(shard);
  const comment = before.subarray(0, before.indexOf(0, 10) + 1);
  const after = Buffer.concat([
    comment,
    deflateRawSync(gunzipSync(before), { level: 9 }),
    before.subarray(-8),
  ]);
  expect(after.length).toBeLessThan(before.length);
  await writeFile(shard, after);
  await unlink(join(run, "tpu_0/shard_0002.json"));
  expect(await runSluice(flags)).toMatchObject({ code: 0 });
  expect(await readFile(shard)).toEqual(after);
  expect(Object.keys(await hashData(run)), "no alternative").toHaveLength(2);
  expect(await callSluice(["verify", run, "--deep"])).toMatchObject({ code: 0 });
});

it("sees damage, and never says complete of it", async () => {
  const folder = await temporaryFolder();
  const dataset = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(20));
  const run = join(folder, "run");
  await runSluice(smallRun(dataset, run));
  const shard = join(run, "tpu_0/shard_0002.safetensors");
  const bytes = await readFile(shard);
  bytes[bytes.length - 700] = (bytes[bytes.length - 700] ?? 0) ^ 1;
  await writeFile(shard, bytes);
  expect(await callSluice(["verify", run, "--deep"])).toMatchObject({
    code: 65,
    stdout: expect.stringContaining("SHA-256"),
  });
  await truncate(shard, 1000);
  expect(await callSluice(["verify", run])).toMatchObject({ code: 65 });
  expect(await runSluice(smallRun(dataset, run))).toMatchObject({
    code: 65,
    stderr: expect.stringContaining("shard_0002.safetensors is corrupt"),
  });
  await unlink(shard);
  expect(await runSluice(smallRun(dataset, run))).toMatchObject({ code: 0 });
  await writeFile(join(run, "tpu_0/shard_0001.json"), "{");
  expect(await runSluice(smallRun(dataset, run))).toMatchObject({
    code: 65,
    stderr: expect.stringContaining("shard_0001.json"),
  });
});

it("finds a sample that is there twice, one of another unit, and another token, though the checksums hold", async () => {
  const folder = await temporaryFolder();
  const dataset = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(20));
  const run = join(folder, "run");
  await runSluice(smallRun(dataset, run));
  const file = join(run, "tpu_0/shard_0002.json");
  const forge = async (tensor: string, change: (at: DataView) => void, ...flags: string[]) => {
    const commit = JSON.parse(await readFile(file, "utf8"));
    const shard = join(run, "tpu_0", commit.data);
    const bytes = await readFile(shard);
    const { offset, length } = commit.tensors[tensor];
    change(new DataView(bytes.buffer, bytes.byteOffset + offset, length));
    const sum = crc32c(bytes.subarray(offset, offset + length));
    commit.tensors[tensor].crc32c = sum.toString(16).padStart(8, "0");
    commit.crc32c = crc32c(bytes).toString(16).padStart(8, "0");
    commit.sha256 = createHash("sha256").update(bytes).digest("hex");
    await writeFile(shard, bytes);
    await writeFile(file, JSON.stringify(commit));
    const verified = await callSluice(["verify", run, "--json", ...flags]);
    expect(verified.code).toBe(65);
    return JSON.parse(verified.stdout);
  };
  const holds = (reason: string) => ({
    corrupt: [{ name: "tpu_0/shard_0002.safetensors", reason: expect.stringContaining(reason) }],
  });
  const token = (at: DataView) => at.setInt32(4, at.getInt32(4, true) ^ 1, true);
  expect(await forge("token_ids", token, "--deep")).toMatchObject(holds("row 1 is not of the token"));
  expect(await forge("input_ids", token, "--deep")).toMatchObject(holds("its token ids are not those"));
  const second = (record: bigint) => (at: DataView) => at.setBigInt64(8, record, true);
  expect(await forge("sample_ids", second(8n))).toMatchObject({ duplicated: ["8:0"], corrupt: [] });
  expect(await forge("sample_ids", second(3n))).toMatchObject({ duplicated: [], ...holds("record 3") });
});

it("refuses a dataset that was edited in place, and names the records", async () => {
  const folder = await temporaryFolder();
  const records = tokenRecords(40);
  const dataset = await writeJsonl(join(folder, "d.jsonl"), records);
  const run = join(folder, "run");
  await runSluice(smallRun(dataset, run));
  await unlink(join(run, "tpu_0/shard_0004.json"));
  const text = await readFile(dataset, "utf8");
  await writeFile(dataset, text.replace('"r25"', '"R25"'));
  const sameSize = await runSluice(smallRun(dataset, run));
  expect(sameSize).toMatchObject({ code: 78, stderr: expect.stringContaining("unit 3 (records 24 to 31)") });
  await writeFile(dataset, text.replace('"r25"', '"r25 "'));
  expect(await runSluice(smallRun(dataset, run))).toMatchObject({
    code: 78,
    stderr: expect.stringContaining("unit 3 (records 24 to 31)"),
  });
});

it("lists unusable records and goes on, up to a limit", async () => {
  const folder = await temporaryFolder();
  const lines = [
    '{"token_ids": [1, 2]}',
    "not json",
    "",
    '{"token_ids": [999]}',
    '{"other": 1}',
    '{"token_ids": [3]}',
    '{"token_ids": []}',
  ];
  const dataset = join(folder, "d.jsonl");
  await writeFile(dataset, lines.join("\n"));
  const run = join(folder, "run");
  expect(await runSluice(smallRun(dataset, run))).toMatchObject({ code: 0 });
  const report = JSON.parse((await callSluice(["verify", run, "--json"])).stdout);
  expect(report).toMatchObject({ complete: true, expected: 6, records: 6, samples: 2 });
  expect(report.skipped.map((s: { reason: string }) => s.reason)).toEqual([
    "not valid JSON",
    "token id 999 is outside the vocabulary (0 to 198)",
    "no text or token_ids",
    "no tokens",
  ]);
  expect(await runSluice(smallRun(dataset, join(folder, "strict"), "--max-skipped", "3"))).toMatchObject({
    code: 65,
    stderr: expect.stringContaining("4 of 6 records"),
  });
  await writeFile(dataset, "broken\n".repeat(20));
  expect(await runSluice(smallRun(dataset, join(folder, "half")))).toMatchObject({ code: 0 });
  expect(JSON.parse((await callSluice(["verify", join(folder, "half"), "--json"])).stdout)).toMatchObject({
    complete: true,
    samples: 0,
    shards: 0,
  });
});

it("refuses wrong input with the contract's exit codes and says what to do", async () => {
  const folder = await temporaryFolder();
  const dataset = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(9));
  const run = join(folder, "run");
  const expectRefusal = async (args: string[], code: number, text: string) => {
    const ended = await callSluice(args);
    expect(ended.stderr).toContain(text);
    expect(ended.stderr).not.toMatch(/\n\s+at /);
    expect(ended.code, args.join(" ")).toBe(code);
  };
  await expectRefusal(
    ["extract", "--model", "/nowhere", "--dataset", dataset, "--output", run],
    78,
    "there is no model at /nowhere",
  );
  await expectRefusal(
    ["extract", "--model", TINY_MODEL, "--dataset", "/nowhere.jsonl", "--output", run],
    78,
    "there is no dataset at /nowhere.jsonl",
  );
  await expectRefusal(["extract", "--model", TINY_MODEL, "--dataset", dataset], 64, "--output is missing");
  await expectRefusal(smallRun(dataset, run, "--layers", "99"), 64, "the model has 2 layers");
  await expectRefusal(smallRun(dataset, run, "--hooks", "resid_nowhere"), 64, "resid_nowhere");
  await expectRefusal(smallRun(dataset, run, "--positions", "5;6"), 64, "--positions cannot be read");
  await expectRefusal(smallRun(dataset, run, "--dtype", "int8"), 64, "bfloat16, float16, float32");
  await expectRefusal(smallRun(dataset, run, "--engine", "warp"), 64, "auto, onnx, xla, reference");
  const narrow = ["--engine", "onnx", "--compute-dtype", "bfloat16"];
  await expectRefusal(smallRun(dataset, run, ...narrow), 64, "onnx computes in float32");
  await expectRefusal(["dashboard", run], 64, "not in this version");
  await expectRefusal(["frobnicate"], 64, "unknown command");
  await expectRefusal(smallRun(dataset, "az://bucket/run"), 78, "az:// stores are not in this version");
  await expectRefusal(["verify", join(folder, "no-run")], 78, "there is no run at");
  await writeFile(join(folder, "empty.jsonl"), "\n\n");
  await expectRefusal(smallRun(join(folder, "empty.jsonl"), join(folder, "e")), 78, "has no records");
  await writeFile(join(folder, "t.txt"), "hello\n");
  await expectRefusal(smallRun(join(folder, "t.txt"), join(folder, "t")), 78, "has no tokenizer");
  expect((await runSluice(smallRun(dataset, run))).code).toBe(0);
  await expectRefusal(
    smallRun(dataset, run, "--dtype", "float32"),
    78,
    'dtype: the run has "bfloat16", this command "float32"',
  );
  await expectRefusal(smallRun(dataset, run, "--seed", "7"), 78, "seed: the run has 42, this command 7");
});

it("reads text with the model's tokenizer, cuts, selects, reduces", async () => {
  const folder = await temporaryFolder();
  const dataset = join(folder, "d.txt");
  await writeFile(dataset, "1: 0 0 7 7\nPair 1 2 3 4 5\nhello world, 12 34\n");
  const flags = [
    "--model",
    BUNDLED_MODEL,
    "--dataset",
    dataset,
    "--threads",
    "1",
    "--dtype",
    "float32",
    "--layers",
    "-1",
  ];
  const read = async (name: string, ...more: string[]) => {
    const run = join(folder, name);
    expect(await runSluice(["extract", ...flags, "--output", run, ...more])).toMatchObject({ code: 0 });
    const { log, store } = await openRunForReading(new FileStore(run));
    const [commit] = await log.readAll();
    if (!commit) throw new Error("no commit");
    const values = new Float32Array(
      (await readTensor(store, commit, "blocks.5.hook_resid_post")).slice().buffer,
    );
    return { values, offsets: await readInt64(store, commit, "sample_offsets"), commit };
  };
  const full = await read("full");
  const row = (i: number) => full.values.subarray(i * 128, (i + 1) * 128);
  const last = await read("last", "--positions", "last");
  expect(last.offsets).toEqual([0, 1, 2, 3]);
  for (const s of [0, 1, 2])
    expect(
      relativeError(last.values.subarray(s * 128, (s + 1) * 128), row((full.offsets[s + 1] ?? 0) - 1)),
    ).toBeLessThan(1e-5);
  const mean = await read("mean", "--positions", "mean");
  const expected = new Float32Array(128).map((_, i) => {
    let sum = 0;
    for (let r = 0; r < (full.offsets[1] ?? 0); r++) sum += row(r)[i] ?? 0;
    return sum / (full.offsets[1] ?? 1);
  });
  expect(relativeError(mean.values.subarray(0, 128), expected)).toBeLessThan(1e-5);
  const cut = await read("cut", "--max-seq-length", "4");
  expect(cut.offsets).toEqual([0, 4, 8, 12]);
  expect(relativeError(cut.values.subarray(0, 4 * 128), full.values.subarray(0, 4 * 128))).toBeLessThan(1e-5);
  expect(await listCommits(join(folder, "cut"))).toEqual(["tpu_0/shard_0001.json"]);
});
