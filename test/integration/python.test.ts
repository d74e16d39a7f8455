// What is written is read by others: Python's safetensors, numpy and pickle. Runs where SLUICE_TEST_PYTHON names a Python
// with safetensors, numpy and ml_dtypes (.ci/run makes one).

import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import {
  BUNDLED_MODEL,
  runSluice,
  smallRun,
  startProgram,
  temporaryFolder,
  tokenRecords,
  writeJsonl,
} from "../helpers.js";

const PYTHON = process.env.SLUICE_TEST_PYTHON ?? "python3";
const READER = fileURLToPath(new URL("../../tools/read_shards.py", import.meta.url));

async function readByPython(...args: string[]) {
  const ended = await startProgram(PYTHON, [READER, ...args]).ended;
  expect(ended, ended.stderr).toMatchObject({ code: 0 });
  return JSON.parse(ended.stdout);
}

/** Rows in which every pair of values of two flags occurs: each takes the first pair still open, and fills up greedily. */
function pairwise(axes: Readonly<Record<string, readonly string[]>>): string[][] {
  const values = Object.values(axes);
  const key = (a: number, x: string, b: number, y: string) =>
    a < b ? `${a}=${x}&${b}=${y}` : `${b}=${y}&${a}=${x}`;
  const open = new Map<string, [number, string, number, string]>();
  for (let a = 0; a < values.length; a++) {
    for (let b = a + 1; b < values.length; b++) {
      for (const x of values[a] ?? [])
        for (const y of values[b] ?? []) open.set(key(a, x, b, y), [a, x, b, y]);
    }
  }
  const rows: string[][] = [];
  for (let [next] = open.values(); next; [next] = open.values()) {
    const row: (string | undefined)[] = values.map(() => undefined);
    row[next[0]] = next[1];
    row[next[2]] = next[3];
    for (const [a, choices] of values.entries()) {
      const gain = (x: string) =>
        row.filter((y, b) => y !== undefined && b !== a && open.has(key(a, x, b, y))).length;
      row[a] ??= [...choices].sort((x, y) => gain(y) - gain(x))[0];
    }
    const full = row.map((x) => x ?? "");
    for (let a = 0; a < full.length; a++) {
      for (let b = a + 1; b < full.length; b++) open.delete(key(a, full[a] ?? "", b, full[b] ?? ""));
    }
    rows.push(full);
  }
  return rows;
}

it("every pair of flags gives slices of the full float32 run, as Python reads them", async () => {
  const folder = await temporaryFolder();
  const texts = tokenRecords(30).map(({ token_ids }, i) => ({
    id: `t${i}`,
    text: `Pair ${i}\n1: ${token_ids.map((t) => t % 10).join(" ")}<|endoftext|>`,
  }));
  const dataset = await writeJsonl(join(folder, "d.jsonl"), texts);
  const base = [
    "extract",
    "--model",
    BUNDLED_MODEL,
    "--dataset",
    dataset,
    "--threads",
    "1",
    "--samples-per-shard",
    "11",
  ];
  const full = join(folder, "full");
  const hooks = "resid_*,attn_out,mlp_out,q,z,mlp_post";
  expect(await runSluice([...base, "--output", full, "--dtype", "float32", "--hooks", hooks])).toMatchObject({
    code: 0,
  });
  const cut = join(folder, "full-24");
  const cutting = ["--max-seq-length", "24", "--too-long", "cut-left"];
  expect(
    await runSluice([...base, "--output", cut, "--dtype", "float32", "--hooks", hooks, ...cutting]),
  ).toMatchObject({ code: 0 });
  const rows = pairwise({
    "--hooks": ["resid_post", "blocks.*.hook_mlp_out", "resid_pre", "q", "mlp_post"],
    "--layers": ["all", "-1", "0,2-3"],
    "--positions": ["all", "last", "first", "mean", "max", "0,4,-1", "2:-2", "random:5"],
    "--dtype": ["bfloat16", "float16", "float32"],
    "--format": ["safetensors", "pkl.gz"],
    "--max-seq-length": ["2048", "24"],
    "--skip-special": ["", "yes"],
  });
  expect(rows.length).toBeGreaterThanOrEqual(24);
  for (const [i, [hook, layers, positions, dtype, format, length, skip]] of rows.entries()) {
    const run = join(folder, `run-${i}`);
    const flags = [
      "--hooks",
      hook,
      "--layers",
      layers,
      "--positions",
      positions,
      "--dtype",
      dtype,
      "--format",
      format,
      "--max-seq-length",
      length,
      "--too-long",
      "cut-left",
    ];
    const args = [...base, "--output", run, ...flags.map(String), ...(skip ? ["--skip-special"] : [])];
    const ended = await runSluice(args);
    expect(ended, `${args.join(" ")}\n${ended.stderr}`).toMatchObject({ code: 0 });
    // Cut from the left changes what the model read: compare with a full run that read the same.
    const against = length === "24" ? cut : full;
    const read = await readByPython(run, "--compare", against);
    expect(read.samples, args.join(" ")).toBe(30);
    expect(read.values_compared).toBeGreaterThan(0);
  }
});

it("reads a run of the tiny model: dtypes, shapes, checksums", async () => {
  const folder = await temporaryFolder();
  const dataset = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(50));
  await runSluice(smallRun(dataset, join(folder, "run")));
  const read = await readByPython(join(folder, "run"));
  expect(read).toMatchObject({
    samples: 50,
    tensors: {
      "blocks.0.hook_resid_post": ["bfloat16", [expect.any(Number), 48]],
      sample_ids: ["int64", [expect.any(Number)]],
    },
  });
});
