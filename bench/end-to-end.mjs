// The whole job (tokens in, committed shards out) against the bare forward passes of the same batches, and against a plain
// script with Hugging Face transformers on the same samples where --python names one that has it: all in one run.
//
//   node bench/end-to-end.mjs [--samples 24] [--threads 2] [--dtype float32] [--compute-dtype float32] [--plugin FILE]
//                             [--python PYTHON] [--model DIR]                                                (after npm run build)
//
// Without --model: Qwen2.5-0.5B's shape with random weights (in a temporary folder). Loading the model and compiling count for nobody.
// With --plugin, the library of a PJRT plug-in for CPUs: XLA, else ONNX Runtime. transformers computes in --compute-dtype too.

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { arcTokenIds } from "./arc-token-ids.mjs";
import { describeMachine } from "./machine.mjs";
import { runWatched } from "./memory.mjs";

const { values } = parseArgs({
  options: {
    samples: { type: "string", default: "24" },
    threads: { type: "string", default: String(availableParallelism()) },
    dtype: { type: "string", default: "float32" },
    "compute-dtype": { type: "string", default: "float32" },
    plugin: { type: "string" },
    "samples-per-shard": { type: "string", default: "8" },
    "batch-tokens": { type: "string", default: "8192" },
    python: { type: "string" },
    model: { type: "string" },
  },
});
const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));
const compute = values["compute-dtype"];
const folder = mkdtempSync(join(tmpdir(), "sluice-bench-"));

try {
  let { model } = values;
  if (model === undefined) {
    model = join(folder, "model");
    const make = [path("../tools/make-random-checkpoint.mjs"), "--output", model, "--dtype", compute];
    spawnSync(process.execPath, make, { stdio: ["ignore", "ignore", "inherit"] });
  }
  const dataset = join(folder, "d.jsonl");
  const samples = await arcTokenIds(Number(values.samples), 2048);
  writeFileSync(dataset, samples.map((token_ids) => `${JSON.stringify({ token_ids })}\n`).join(""));
  const flags = [
    "--model",
    model,
    "--dataset",
    dataset,
    "--output",
    join(folder, "run"),
    "--dtype",
    values.dtype,
    "--compute-dtype",
    compute,
    ...(values.plugin === undefined ? ["--engine", "onnx"] : ["--engine", "xla", "--plugin", values.plugin]),
  ];
  for (const name of ["threads", "samples-per-shard", "batch-tokens"]) flags.push(`--${name}`, values[name]);

  const bare = await runWatched(process.execPath, [path("bare-forward.mjs"), ...flags]);
  const job = await runWatched(process.execPath, [
    path("../dist/cli/sluice.js"),
    "extract",
    ...flags,
    "--json",
  ]);
  const jobRate = job.tokens / (job.seconds - job.load_seconds);
  const weights = statSync(join(model, "model.safetensors")).size;
  const config = JSON.parse(readFileSync(join(model, "config.json"), "utf8"));
  const inFloat32 = config.torch_dtype === "float32" ? weights : 2 * weights;
  const results = {
    samples: samples.length,
    real_tokens: job.tokens,
    threads: Number(values.threads),
    bare_tokens_per_s: bare.tokens_per_s,
    job_tokens_per_s: jobRate,
    job_to_bare: jobRate / bare.tokens_per_s,
    padding_share: 1 - bare.real_tokens / bare.computed_tokens,
    samples_per_batch: samples.length / bare.batches,
    load_seconds: job.load_seconds,
    stored_mb: job.bytes / 1e6,
    peak_private_gib: job.peak_bytes / 2 ** 30,
    /** 1.1 times the weights in the compute dtype, plus 1 GiB. */
    memory_bound_gib: (1.1 * (compute === "bfloat16" ? inFloat32 / 2 : inFloat32)) / 2 ** 30 + 1,
  };
  if (values.python) {
    const peer = await runWatched(values.python, [
      path("peers/hf_extract.py"),
      ...[
        "--model",
        model,
        "--dataset",
        dataset,
        "--output",
        join(folder, "hf"),
        "--threads",
        values.threads,
      ],
      ...["--store-dtype", values.dtype === "bfloat16" ? "bfloat16" : "float32"],
      ...["--compute-dtype", compute],
    ]);
    Object.assign(results, {
      transformers_tokens_per_s: peer.tokens_per_s,
      transformers_padding_share: peer.padding_share,
      transformers_versions: peer.versions,
      job_to_transformers: jobRate / peer.tokens_per_s,
    });
  }
  console.log(JSON.stringify({ bench: "end-to-end", ...describeMachine(), results }));
} finally {
  rmSync(folder, { recursive: true });
}
