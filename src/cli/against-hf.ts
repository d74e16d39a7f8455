// `sluice verify --against-hf N`: starts scripts/against_hf.py, which computes samples of the run again with transformers.
// Here is only what it needs to be started: the model, found and known to be the run's, and a Python that has PyTorch.

import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { EXIT_CODES, messageOf, SluiceError } from "../base/errors.js";
import { plural } from "../base/plural.js";
import { tapOf } from "../model/hooks.js";
import { locateAdapter, locateModel } from "../model/locate.js";
import { openModel } from "../model/model.js";
import type { ReadableRun } from "../read/open-run.js";
import { findDifferences } from "../run/identity.js";
import { hashFile, hashWeights } from "../run/weights-hash.js";
import { Hasher } from "../shard/hash.js";
import { formatTable, paint } from "./render.js";

const SCRIPT = fileURLToPath(new URL("../../scripts/against_hf.py", import.meta.url));

const tensorSchema = z.object({
  tensor: z.string(),
  /** The worst of the samples, relative to the tensor's largest value; null for infinite. */
  error: z.number().nullable(),
  tolerance: z.number(),
  rows: z.number(),
  /** Where it is. */
  worst: z.object({ record: z.number(), part: z.number() }).nullable(),
  ok: z.boolean(),
});

const reportSchema = z.object({
  ok: z.boolean(),
  seed: z.number(),
  samples: z.array(z.object({ record: z.number(), part: z.number(), tokens: z.number() })),
  tensors: z.array(tensorSchema),
  not_checked: z.array(z.object({ tensor: z.string(), reason: z.string() })),
  versions: z.record(z.string(), z.string()),
});

/** What the script found; the member `against_hf` of `sluice verify --json`. */
export type AgainstHf = z.infer<typeof reportSchema>;

/** What to compare, and with what. */
export interface AgainstHfOptions {
  readonly samples: number;
  readonly seed: number;
  /** Undefined: where the run's own checkpoint files say that the model lay. */
  readonly model: string | undefined;
  readonly adapter: string | undefined;
  readonly python: string;
  /** Gets what is being done. */
  readonly onState: (state: string) => void;
}

/**
 * Computes samples of a run again with transformers.
 * @throws SluiceError `config` where the model is not the run's, or Python, PyTorch or transformers is missing.
 */
export async function compareWithTransformers(
  readable: ReadableRun,
  options: AgainstHfOptions,
): Promise<AgainstHf> {
  const { store, run } = readable;
  if (run.identity.shard_format !== "safetensors")
    throw new SluiceError(
      "usage",
      "--against-hf computes again what the model read, which pkl.gz does not hold",
      {
        expected: "a safetensors run",
      },
    );
  options.onState("hashing the model's weights");
  const model = await locateModel(options.model ?? (await rememberedModel(readable)));
  const adapter = options.adapter === undefined ? null : await locateAdapter(options.adapter);
  await refuseOtherModel(readable, model, adapter);
  options.onState("loading the model with transformers");
  const args = [
    SCRIPT,
    store.uri,
    "--json",
    "--model",
    model,
    ...(adapter === null ? [] : ["--adapter", adapter]),
  ];
  const numbers = ["--samples", String(options.samples), "--seed", String(options.seed)];
  const text = await runPython(options.python, [...args, ...numbers], options.onState);
  return reportSchema.parse(JSON.parse(text));
}

/** Where a worker of the run said that the model lay: a run holds no path of its own. */
async function rememberedModel({ store, run }: ReadableRun): Promise<string> {
  for (const worker of run.identity.dataset.streams.keys()) {
    const name = `checkpoints/checkpoint_worker_${worker}.json`;
    if ((await store.head(name)) === null) continue;
    const path = z
      .looseObject({ model_path: z.string() })
      .safeParse(JSON.parse(Buffer.from(await store.read(name)).toString("utf8")));
    if (path.success) return path.data.model_path;
  }
  throw new SluiceError("config", "--against-hf needs the model that the run was made with", {
    fix: "Name it with --model, or in MODEL_PATH.",
  });
}

async function refuseOtherModel(
  { run, store }: ReadableRun,
  model: string,
  adapter: string | null,
): Promise<void> {
  const checkpoint = await openModel(model, adapter);
  const hasher = new Hasher();
  try {
    const { weights_sha256: weights, adapter: adapted } = run.identity.model;
    const expected = { weights_sha256: weights, adapter: adapted?.weights_sha256 ?? null };
    const here = {
      weights_sha256: await hashWeights(checkpoint.weights.files, hasher),
      adapter: checkpoint.adapter ? await hashFile(checkpoint.adapter.file) : null,
    };
    const differences = findDifferences(expected, here);
    if (differences.length === 0) return;
    const lines = differences.map(
      (d) => `\n  ${d.field}: the run has ${d.run ?? "none"}, here ${d.here ?? "none"}`,
    );
    throw new SluiceError(
      "config",
      `${model} is not the model of the run at ${store.uri}:${lines.join("")}`,
      {
        fix: "Name the run's own with --model (and --adapter).",
      },
    );
  } finally {
    await hasher.close();
  }
}

/** What the script prints. */
async function runPython(
  python: string,
  args: readonly string[],
  onState: (state: string) => void,
): Promise<string> {
  const quiet = { HF_HUB_OFFLINE: "1", HF_HUB_DISABLE_PROGRESS_BARS: "1", TOKENIZERS_PARALLELISM: "false" };
  const child = spawn(python, args, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...quiet, PYTHONDONTWRITEBYTECODE: "1" },
  });
  const said = { stdout: "", stderr: "" };
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    said.stdout += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    said.stderr = (said.stderr + text).slice(-20_000);
    const state = text.trim().split("\n").at(-1) ?? "";
    if (/^compared \d+ of \d+ samples$/.test(state)) onState(`${state} with transformers`);
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on("error", (cause) =>
      reject(
        new SluiceError("config", `${python} cannot be started: ${messageOf(cause)}`, {
          fix: "Name a Python with PyTorch and transformers: --python PATH.",
          cause,
        }),
      ),
    );
    child.on("close", resolve);
  });
  if (code === 0 || code === EXIT_CODES.data) return said.stdout;
  const lines = said.stderr.trim().split("\n");
  const last = lines.findLast((line) => line.startsWith("sluice: ")) ?? lines.at(-1) ?? "";
  const message = last.replace(/^sluice: /, "");
  throw code === EXIT_CODES.config
    ? new SluiceError("config", message, { fix: "Another Python is named with --python PATH." })
    : new SluiceError("bug", `against_hf.py ended with ${code}: ${message}`, {
        found: lines.slice(-12).join("\n"),
      });
}

/** The worst errors: one row a layer, one column a hook; before it those of hook points of no block. */
export function describeAgainstHf(report: AgainstHf): string {
  const { tensors, not_checked: notChecked, samples, versions } = report;
  const show = ({ error, ok }: AgainstHf["tensors"][number]) =>
    `${error === null ? "infinite" : error.toExponential(1)}${ok ? "" : "!"}`;
  const found = tensors.map((tensor) => ({ ...tapOf(tensor.tensor), shown: show(tensor) }));
  const ofModel = found.filter(({ layer }) => layer === null).map(({ hook, shown }) => `${hook} ${shown}`);
  const ofBlocks = found.filter(({ layer }) => layer !== null);
  const layers = [...new Set(ofBlocks.map(({ layer }) => layer))];
  const hooks = [...new Set(ofBlocks.map(({ hook }) => hook))];
  const cell = (layer: number | null, hook: string) =>
    ofBlocks.find((tap) => tap.layer === layer && tap.hook === hook)?.shown ?? "";
  const rows = layers.map((layer) => [String(layer), ...hooks.map((hook) => cell(layer, hook))]);
  const bounds = [...new Set(tensors.map(({ tolerance }) => tolerance.toExponential(1)))].join(", ");
  const records = samples.map(({ record, part }) => `${record}${part > 0 ? `:${part}` : ""}`);
  return [
    `${paint(report.ok ? "agrees" : "DIFFERS", report.ok ? "green" : "red")}: ${plural(samples.length, "sample")} computed with transformers ${versions.transformers}, torch ${versions.torch}`,
    `  seed ${report.seed}: records ${records.join(", ")}`,
    `  largest difference, relative to each tensor's maximum (bound ${bounds})`,
    ...(ofModel.length > 0 ? [`  ${ofModel.join(", ")}`] : []),
    ...(rows.length > 0 ? [formatTable(["layer", ...hooks], rows).replace(/^/gm, "  ")] : []),
    ...tensors
      .filter(({ ok }) => !ok)
      .slice(0, 10)
      .map((t) => `  beyond the bound: ${t.tensor}, ${show(t)} in record ${t.worst?.record}`),
    ...notChecked.map(({ tensor, reason }) => `  not checked: ${tensor}: ${reason}`),
  ].join("\n");
}
