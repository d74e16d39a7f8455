// What can be given as --model and --adapter, as a user types it: it runs, it is part of the run, and what is wrong with it
// is said with exit 78.

import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { readFixture, relativeError } from "../src/engine/engine.suite.js";
import { openRunForReading } from "../src/read/open-run.js";
import { readTensor } from "../src/read/read-tensor.js";
import { FileStore } from "../src/store/file.js";
import { callSluice, runSluice, TINY_MODEL, temporaryFolder, tokenRecords, writeJsonl } from "./helpers.js";

const FIXTURES = fileURLToPath(new URL("./fixtures/", import.meta.url));
const GGUF = join(FIXTURES, "gguf/llama-head-dim.gguf");
const ADAPTER = join(FIXTURES, "adapters/rslora-patterns");

it("extracts from a GGUF file what PyTorch computes with the checkpoint it was made from", async () => {
  const folder = await temporaryFolder();
  const fixture = readFixture("llama-head-dim");
  const samples = fixture.cases.find((c) => c.name === "one")?.samples ?? [];
  const dataset = await writeJsonl(
    join(folder, "d.jsonl"),
    samples.map((token_ids) => ({ token_ids })),
  );
  const run = join(folder, "run");
  const args = [
    "extract",
    "--model",
    GGUF,
    "--dataset",
    dataset,
    "--output",
    run,
    "--dtype",
    "float32",
    "--threads",
    "1",
  ];
  const ended = await runSluice(args, { XDG_CACHE_HOME: folder });
  expect(ended, ended.stderr).toMatchObject({ code: 0 });
  expect(ended.stderr).toMatch(/converted weights \(\d+ MB\) are kept in .*sluice\/weights/);
  const { log, store } = await openRunForReading(new FileStore(run));
  const [commit] = await log.readAll();
  if (!commit) throw new Error("no commit");
  for (const layer of [0, 1]) {
    const name = `blocks.${layer}.hook_resid_post`;
    const found = new Float32Array((await readTensor(store, commit, name)).slice().buffer);
    expect(relativeError(found, fixture.expected.get(`one/0/${name}`) ?? new Float32Array())).toBeLessThan(
      1e-4,
    );
  }
  const { identity } = JSON.parse(await readFile(join(run, "run.json"), "utf8"));
  expect(identity.model).toMatchObject({
    family: "llama",
    revision: null,
    config: { hidden_size: 48, head_dim: 20 },
  });
  expect(identity.model).not.toHaveProperty("adapter");
});

it("an adapter is part of the run: with it the run is another, and a worker without it is refused", async () => {
  const folder = await temporaryFolder();
  const dataset = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(5));
  const extract = (run: string, ...more: string[]) =>
    runSluice(
      [
        "extract",
        "--model",
        TINY_MODEL,
        "--dataset",
        dataset,
        "--output",
        join(folder, run),
        "--threads",
        "1",
        ...more,
      ],
      {
        XDG_CACHE_HOME: folder,
      },
    );
  const [plain, merged] = [await extract("plain"), await extract("merged", "--adapter", ADAPTER)];
  expect(plain, plain.stderr).toMatchObject({ code: 0 });
  expect(merged, merged.stderr).toMatchObject({ code: 0 });
  const identityOf = async (run: string) => JSON.parse(await readFile(join(folder, run, "run.json"), "utf8"));
  const [a, b] = [await identityOf("plain"), await identityOf("merged")];
  expect(b.identity.model.weights_sha256).toBe(a.identity.model.weights_sha256);
  expect(b.identity.model.adapter).toMatchObject({
    config: { r: 4, lora_alpha: 6, use_rslora: true },
    weights_sha256: expect.stringMatching(/^[0-9a-f]{64}$/),
  });
  expect(JSON.stringify(b.identity)).not.toContain(ADAPTER);
  expect(b.run).not.toBe(a.run);
  const without = await extract("merged");
  expect(without.code).toBe(78);
  expect(without.stderr).toMatch(/model.adapter: the run has .*this command nothing/);
  // How the weights are held is the worker's own affair: it is recorded, and no part of the run.
  const mapped = await extract("mapped", "--adapter", ADAPTER, "--weights", "mapped");
  expect(mapped, mapped.stderr).toMatchObject({ code: 0 });
  expect((await identityOf("mapped")).run).toBe(b.run);
  const commit = JSON.parse(await readFile(join(folder, "mapped/tpu_0/shard_0001.json"), "utf8"));
  expect(commit.execution).toMatchObject({ engine: "onnx", prepacking: false });
});

it("refuses with exit 78, naming the thing and what to do", async () => {
  const folder = await temporaryFolder();
  const dataset = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(5));
  const refusal = async (model: string, ...more: string[]) => {
    const run = join(folder, "run");
    const ended = await callSluice([
      "extract",
      "--model",
      model,
      "--dataset",
      dataset,
      "--output",
      run,
      ...more,
    ]);
    expect(ended.code, ended.stderr).toBe(78);
    return ended.stderr;
  };
  const other = join(folder, "m.gguf");
  await writeFile(other, "not a model at all");
  expect(await refusal(other)).toMatch(/m.gguf is no GGUF file/);
  expect(await refusal("./nowhere")).toMatch(/no model at .*nowhere.*or a Hub id/);
  expect(await refusal(TINY_MODEL, "--adapter", folder)).toMatch(/no adapter at/);
  expect(await refusal(GGUF, "--adapter", ADAPTER)).toMatch(/adapter's tensors of .* do not fit the model/);
});
