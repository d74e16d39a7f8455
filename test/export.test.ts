// `sluice export`: the shards' tensors one after the other, in the order of stream and unit; what is there is kept, and never taken for
// another run's.

import { readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { decodeBfloat16 } from "../src/base/float16.js";
import { headerLength, parseSafetensorsHeader } from "../src/base/safetensors-header.js";
import { openShardSamples, openStore, readActivations } from "../src/index.js";
import { exportRun } from "../src/read/export.js";
import { openRunForReading } from "../src/read/open-run.js";
import { readInt64, readTensor } from "../src/read/read-tensor.js";
import { FileStore } from "../src/store/file.js";
import { temporaryName } from "../src/store/temporary.js";
import { DEAD } from "./dead-process.js";
import { callSluice, runSluice, smallRun, temporaryFolder, tokenRecords, writeJsonl } from "./helpers.js";

const TAP = "blocks.1.hook_resid_post";

it("joins the shards, goes on where it stopped, and refuses a folder of another run's", async () => {
  const folder = await temporaryFolder();
  const source = await writeJsonl(join(folder, "d.jsonl"), [...tokenRecords(29), { token_ids: [999] }]);
  const dataset = join(folder, "streams");
  const split = ["streams", "--dataset", source, "--num-streams", "2", "--output-dir", dataset];
  expect(await callSluice(split)).toMatchObject({ code: 0 });
  const run = join(folder, "run");
  expect(await runSluice(smallRun(dataset, run))).toMatchObject({ code: 0 });
  const readable = await openRunForReading(new FileStore(run));
  const commits = await readable.log.readAll();
  expect(commits.map(({ stream, unit }) => [stream, unit])).toEqual([
    [0, 0],
    [0, 1],
    [1, 0],
    [1, 1],
  ]);
  const joinAll = async (name: string) =>
    Buffer.concat(await Promise.all(commits.map((commit) => readTensor(readable.store, commit, name))));
  const all = await joinAll(TAP);
  // The package's exports read the same, and say whose rows they are.
  const mine: Float32Array[] = [];
  const records: number[] = [];
  for await (const commit of readable.log.commits()) {
    const { values, shape } = await readActivations(openStore(run), commit, TAP);
    const samples = await openShardSamples(openStore(run), commit);
    expect(shape).toEqual([samples.rowOffsets.at(-1), 48]);
    expect(samples.inputIds).toEqual(samples.tokenIds);
    mine.push(values);
    records.push(...samples.records);
    await expect(readActivations(readable.store, commit, "token_ids")).rejects.toThrow(/is no activation/);
  }
  expect(records).toHaveLength(29);
  expect(mine.flatMap((values) => [...values])).toEqual([
    ...decodeBfloat16(new Uint16Array(Uint8Array.from(all).buffer)),
  ]);
  const out = join(folder, "out");

  await exportRun(readable, { to: "safetensors", folder: out, taps: [TAP] });
  const bytes = new Uint8Array(await readFile(join(out, `${TAP}.safetensors`)));
  const head = headerLength(bytes, bytes.length, "file");
  const { tensors } = parseSafetensorsHeader(bytes.subarray(8, 8 + head), bytes.length, "file");
  expect(tensors).toMatchObject([{ name: TAP, shape: [all.length / 96, 48] }]);
  expect(Buffer.from(bytes.subarray(8 + head))).toEqual(all);

  await exportRun(readable, { to: "npy", folder: out, taps: [TAP] });
  const npy = async (name: string) => {
    const file = await readFile(join(out, `${name}.npy`));
    const start = 10 + file.readUInt16LE(8);
    return { header: file.subarray(10, start).toString(), data: file.subarray(start) };
  };
  const { header, data } = await npy(TAP);
  expect(header).toContain(`'descr': '<f4', 'fortran_order': False, 'shape': (${all.length / 96}, 48)`);
  const widened = decodeBfloat16(new Uint16Array(Uint8Array.from(all).buffer));
  expect(new Float32Array(Uint8Array.from(data).buffer)).toEqual(widened);
  for (const name of ["sample_ids", "token_ids", "token_flags"])
    expect((await npy(name)).data).toEqual(await joinAll(name));
  const expected = [0n];
  for (const commit of commits) {
    const offsets = await readInt64(readable.store, commit, "sample_offsets");
    for (const [i, offset] of offsets.entries())
      if (i > 0) expected.push((expected.at(-1) ?? 0n) + BigInt(offset - (offsets[i - 1] ?? 0)));
  }
  expect(expected).toHaveLength(1 + 29);
  const joined = (await npy("sample_offsets")).data;
  expect([...new BigInt64Array(Uint8Array.from(joined).buffer)]).toEqual(expected);

  // What a killed export leaves: some files whole, one half written.
  const names = (await readdir(out)).sort();
  await rm(join(out, `${TAP}.npy`));
  await writeFile(join(out, `${temporaryName(DEAD)}.tmp`), "half");
  const before = await stat(join(out, "token_ids.npy"));
  const isNew: boolean[] = [];
  await exportRun(readable, { to: "npy", folder: out, taps: [TAP], onFile: (_, made) => isNew.push(made) });
  expect(isNew).toEqual([true, false, false, false, false, false, false]);
  expect((await npy(TAP)).data).toEqual(data);
  expect((await stat(join(out, "token_ids.npy"))).mtimeMs).toBe(before.mtimeMs);
  expect((await readdir(out)).sort()).toEqual(names);

  const other = join(folder, "other");
  expect(await runSluice(smallRun(dataset, other, "--seed", "7"))).toMatchObject({ code: 0 });
  const refused = await callSluice(["export", other, "--to", "npy", "--output", out]);
  expect(refused).toMatchObject({
    code: 78,
    stderr: expect.stringContaining(
      `${out} holds exported files of another run; found ${readable.run.run.slice(0, 12)}`,
    ),
  });
  await rm(join(out, "export.json"));
  expect(await callSluice(["export", run, "--to", "npy", "--output", out])).toMatchObject({ code: 78 });
});

it("lets two exports at once end well, and one of two runs have the folder", async () => {
  const folder = await temporaryFolder();
  const dataset = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(29));
  const readables = [];
  for (const seed of ["1", "2"]) {
    const run = join(folder, `run-${seed}`);
    expect(await runSluice(smallRun(dataset, run, "--seed", seed))).toMatchObject({ code: 0 });
    readables.push(await openRunForReading(new FileStore(run)));
  }
  const [one, other] = readables;
  if (!one || !other) throw new Error("unreachable");
  const exportTo = (readable: typeof one, into: string) =>
    exportRun(readable, { to: "npy", folder: join(folder, into), taps: [TAP] });
  await exportTo(one, "alone");
  const same = await Promise.all([exportTo(one, "same"), exportTo(one, "same"), exportTo(one, "same")]);
  expect(same).toHaveLength(3);
  const names = (await readdir(join(folder, "alone"))).sort();
  expect((await readdir(join(folder, "same"))).sort()).toEqual(names);
  for (const name of names)
    expect(await readFile(join(folder, "same", name))).toEqual(await readFile(join(folder, "alone", name)));

  const ends = await Promise.allSettled([exportTo(one, "two"), exportTo(other, "two")]);
  expect(ends.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
  expect(ends.find(({ status }) => status === "rejected")).toMatchObject({
    reason: expect.objectContaining({
      message: expect.stringContaining("holds exported files of another run"),
    }),
  });
  expect((await readdir(join(folder, "two"))).sort()).toEqual(names);
});
