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

/** Every pair of values of two flags occurs in some row (a greedy covering of the product). */
function pairwise(axes: Readonly<Record<string, readonly string[]>>): string[][] {
  const names = Object.keys(axes);
  const open = new Set<string>();
  const pair = (a: number, x: string, b: number, y: string) => `${a}=${x}&${b}=${y}`;
  names.forEach((n, a) =>
    names
      .slice(a + 1)
      .forEach((m, k) =>
        axes[n]?.forEach((x) => axes[m]?.forEach((y) => open.add(pair(a, x, a + 1 + k, y)))),
      ),
  );
  const rows: string[][] = [];
  while (open.size > 0) {
    const row: string[] = [];
    for (const [a, name] of names.entries()) {
      const gain = (value: string) =>
        row.filter((x, b) => open.has(pair(b, x, a, value))).length +
        [...open].filter((p) => p.includes(`${a}=${value}&`)).length / 1000;
      row.push([...(axes[name] ?? [])].sort((x, y) => gain(y) - gain(x))[0] ?? "");
    }
    row.forEach((x, a) => row.slice(a + 1).forEach((y, k) => open.delete(pair(a, x, a + 1 + k, y))));
    if (rows.some((other) => other.join() === row.join())) {
      // The greedy choice has come round again: take one open pair as it is.
      const [first] = open;
      const fixed = first?.split("&").map((p) => p.split("=")) ?? [];
      for (const [a, x] of fixed) if (a !== undefined && x !== undefined) row[Number(a)] = x;
      row.forEach((x, a) => row.slice(a + 1).forEach((y, k) => open.delete(pair(a, x, a + 1 + k, y))));
    }
    rows.push(row);
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
  const hooks = "resid_pre,attn_out,resid_mid,mlp_out,resid_post";
  expect(await runSluice([...base, "--output", full, "--dtype", "float32", "--hooks", hooks])).toMatchObject({
    code: 0,
  });
  const rows = pairwise({
    "--hooks": ["resid_post", "blocks.*.hook_mlp_out", "resid_pre"],
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
    const against = length === "24" ? join(folder, "full-24") : full;
    if (length === "24")
      await runSluice([
        ...base,
        "--output",
        against,
        "--dtype",
        "float32",
        "--hooks",
        hooks,
        "--max-seq-length",
        "24",
        "--too-long",
        "cut-left",
      ]);
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
