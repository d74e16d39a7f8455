// `sluice verify --against-hf`: the script that ships computes samples again with transformers. SLUICE_TEST_TORCH names a
// Python with torch, transformers and gguf; where it is not set, only what needs none of them is tested, and the rest is skipped.

import { execFile } from "node:child_process";
import { cp, open, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { openRunForReading } from "../../src/read/open-run.js";
import { FileStore } from "../../src/store/file.js";
import { type Ended, runSluice, TINY_MODEL, temporaryFolder, tokenRecords, writeJsonl } from "../helpers.js";

const PYTHON = process.env.SLUICE_TEST_TORCH ?? "";
const SCRIPTS = fileURLToPath(new URL("../../scripts", import.meta.url));
const FIXTURES = fileURLToPath(new URL("../fixtures", import.meta.url));
const run = promisify(execFile);

interface Report {
  readonly ok: boolean;
  readonly samples: readonly unknown[];
  readonly tensors: readonly { tensor: string; error: number; rows: number; worst: { record: number } }[];
  readonly not_checked: readonly unknown[];
}

async function extract(dataset: string, output: string, model: string, ...more: string[]): Promise<string> {
  const flags = ["--model", model, "--dataset", dataset, "--output", output, "--threads", "2"];
  const ended = await runSluice(["extract", ...flags, ...more]);
  expect(ended, ended.stderr).toMatchObject({ code: 0 });
  return output;
}

const verify = (run: string, ...more: string[]): Promise<Ended> =>
  runSluice(["verify", run, "--against-hf", "5", "--python", PYTHON, ...more]);

/** Starts the script itself, for many runs in one process. */
async function compareAll(
  runs: readonly { readonly run: string; readonly model: string; readonly adapter?: string }[],
): Promise<Report[]> {
  const program = [
    "import contextlib, io, json, sys",
    "sys.path.insert(0, sys.argv[1])",
    "import against_hf",
    "for one in json.loads(sys.argv[2]):",
    "    more = ['--adapter', one['adapter']] if 'adapter' in one else []",
    "    sys.argv = ['against_hf.py', one['run'], '--model', one['model'], '--samples', '6', '--json', *more]",
    "    with contextlib.suppress(SystemExit):",
    "        against_hf.main()",
  ].join("\n");
  const { stdout } = await run(PYTHON, ["-c", program, SCRIPTS, JSON.stringify(runs)], {
    maxBuffer: 64 << 20,
    env: { ...process.env, PYTHONDONTWRITEBYTECODE: "1" },
  });
  return stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Report);
}

it("says what is missing, and how to get it", async () => {
  const folder = await temporaryFolder();
  const dataset = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(4));
  const output = await extract(dataset, join(folder, "run"), TINY_MODEL, "--layers", "0");
  const none = await runSluice([
    "verify",
    output,
    "--against-hf",
    "1",
    "--python",
    join(folder, "no-python"),
  ]);
  expect(none).toMatchObject({ code: 78, stderr: expect.stringContaining("--python PATH") });
  await run("python3", ["-m", "venv", "--without-pip", join(folder, "bare")]);
  const bare = await runSluice([
    "verify",
    output,
    "--against-hf",
    "1",
    "--python",
    join(folder, "bare/bin/python"),
  ]);
  expect(bare).toMatchObject({
    code: 78,
    stderr: expect.stringMatching(
      /has no module torch.*bare\/bin\/python -m pip install torch transformers safetensors/,
    ),
  });
  const other = join(FIXTURES, "models/qwen2-two-kv-heads");
  const refused = await runSluice(["verify", output, "--against-hf", "1", "--model", other]);
  expect(refused).toMatchObject({ code: 78, stderr: expect.stringContaining("is not the model of the run") });
  expect(await runSluice(["verify", output, "--model", other])).toMatchObject({
    code: 64,
    stderr: expect.stringContaining("--model needs --against-hf"),
  });
  await rm(join(output, "checkpoints"), { recursive: true });
  const unknown = await runSluice(["verify", output, "--against-hf", "1"]);
  expect(unknown).toMatchObject({ code: 78, stderr: expect.stringContaining("Name it with --model") });
});

it.skipIf(PYTHON === "")("agrees on every hook point, and sees one wrong value", async () => {
  const folder = await temporaryFolder();
  const dataset = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(12));
  const output = await extract(
    dataset,
    join(folder, "run"),
    TINY_MODEL,
    "--hooks",
    "all",
    "--samples-per-shard",
    "5",
  );
  const { taps } = (await openRunForReading(new FileStore(output))).run.identity;
  const ended = await verify(output, "--json");
  expect(ended, ended.stderr).toMatchObject({ code: 0 });
  const { against_hf: report } = JSON.parse(ended.stdout) as { against_hf: Report };
  expect(report.tensors.map(({ tensor }) => tensor)).toEqual(taps);
  expect(report).toMatchObject({ ok: true, not_checked: [], samples: { length: 5 } });

  // A value of every row of one tensor is changed on disk; sizes stay as they are.
  const broken = join(folder, "broken");
  await cp(output, broken, { recursive: true });
  const { log } = await openRunForReading(new FileStore(broken));
  for await (const commit of log.commits()) {
    const tensor = commit.tensors["blocks.1.hook_mlp_out"];
    const file = await open(join(broken, "tpu_0", commit.data ?? ""), "r+");
    for (let row = 0; row < commit.rows; row++)
      await file.write(Uint8Array.of(0x80, 0x3f), 0, 2, (tensor?.offset ?? 0) + row * 48 * 2); // 1.0
    await file.close();
  }
  const wrong = await verify(broken, "--model", TINY_MODEL);
  expect(wrong).toMatchObject({ code: 65 });
  expect(wrong.stdout).toMatch(/DIFFERS: 5 samples/);
  expect(wrong.stdout).toMatch(/beyond the bound: blocks\.1\.hook_mlp_out, .* in record \d+/);
  expect(wrong.stdout.match(/beyond the bound/g)).toHaveLength(1);
});

it.skipIf(PYTHON === "")("agrees on every hook point of every family", async () => {
  const folder = await temporaryFolder();
  const records = tokenRecords(8).map(({ id, token_ids }) => ({
    id,
    token_ids: token_ids.slice(0, 20).map((t) => t % 67),
  }));
  const dataset = await writeJsonl(join(folder, "d.jsonl"), records);
  const families = (await readdir(join(FIXTURES, "models"))).filter((name) => !name.endsWith(".md"));
  const runs = [];
  for (const family of families) {
    const model = join(FIXTURES, "models", family);
    const output = await extract(
      dataset,
      join(folder, family),
      model,
      "--hooks",
      "all",
      "--dtype",
      "float32",
    );
    runs.push({ run: output, model });
  }
  const reports = await compareAll(runs);
  expect(reports.length).toBe(families.length);
  for (const [i, report] of reports.entries()) {
    expect(report, families[i]).toMatchObject({ ok: true, not_checked: [] });
    const { taps } = (await openRunForReading(new FileStore(join(folder, families[i] ?? "")))).run.identity;
    expect(report.tensors.map(({ tensor }) => tensor)).toEqual(taps);
    expect(Math.max(...report.tensors.map(({ error }) => error))).toBeLessThan(1e-5);
  }
});

it.skipIf(PYTHON === "")("agrees on reductions, places, contexts, windows, GGUF and adapters", async () => {
  const folder = await temporaryFolder();
  const dataset = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(20));
  const tied = join(FIXTURES, "models/smollm2-tied");
  const gguf = join(FIXTURES, "gguf/smollm2-tied.gguf");
  const adapter = join(FIXTURES, "adapters/plain");
  const kinds: [string, string[]][] = [
    [TINY_MODEL, ["--positions", "mean", "--samples-per-shard", "6", "--dtype", "bfloat16"]],
    [TINY_MODEL, ["--positions", "max", "--dtype", "float16"]],
    [TINY_MODEL, ["--positions", "random:3", "--hooks", "resid_post,q"]],
    [TINY_MODEL, ["--context-size", "16"]],
    [TINY_MODEL, ["--context-size", "16", "--attend-across"]],
    [TINY_MODEL, ["--max-seq-length", "16", "--too-long", "window", "--stride", "8"]],
    [gguf, ["--hooks", "resid_post,rot_q"]],
    [tied, ["--adapter", adapter]],
  ];
  const runs = [];
  for (const [i, [model, flags]] of kinds.entries()) {
    const output = await extract(dataset, join(folder, `run-${i}`), model, "--dtype", "float32", ...flags);
    runs.push({ run: output, model, ...(flags.includes("--adapter") ? { adapter } : {}) });
  }
  const reports = await compareAll(runs);
  for (const [i, report] of reports.entries())
    expect(report, JSON.stringify(kinds[i])).toMatchObject({
      ok: true,
      not_checked: [],
      samples: { length: 6 },
    });
  // An adapter is part of the run's model.
  const adapted = join(folder, `run-${kinds.length - 1}`);
  expect(await verify(adapted)).toMatchObject({
    code: 78,
    stderr: expect.stringMatching(/adapter: the run has [0-9a-f]{64}, here none/),
  });
  expect(await verify(adapted, "--adapter", adapter)).toMatchObject({ code: 0 });
  // Contexts that were read as one would be seen.
  const mixed = join(folder, "run-3");
  const identity = await readFile(join(mixed, "run.json"), "utf8");
  await writeFile(
    join(mixed, "run.json"),
    identity.replace('"attend_across": false', '"attend_across": true'),
  );
  const [wrong] = await compareAll([{ run: mixed, model: TINY_MODEL }]);
  expect(wrong).toMatchObject({ ok: false });
});
