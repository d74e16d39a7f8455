// The inputs of the simulation: small datasets, planned and read by the real code, once, before any virtual time passes.

import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { randomNumbers } from "../../src/base/random.js";
import { resolveExtractOptions } from "../../src/cli/extract-options.js";
import type { UnitSamples } from "../../src/data/samples.js";
import { scanStream } from "../../src/data/scan.js";
import { splitDataset } from "../../src/data/split.js";
import { LocalUnitReader } from "../../src/data/unit-reader.js";
import type { UnitTable } from "../../src/data/unit-table.js";
import { unitCount } from "../../src/plan/unit.js";
import { planRun, type RunPlan } from "../../src/run/run-plan.js";

/** Tests and `npm run simulate` both run where the project's package.json lies. */
const MODEL = join(process.cwd(), "test/fixtures/models/qwen2-one-kv-head");

/** A dataset, and all that is ever read of it. */
export interface SimulatedDataset {
  readonly plan: RunPlan;
  readonly tables: readonly UnitTable[];
  /** By stream and unit. */
  readonly samples: readonly (readonly UnitSamples[])[];
  readonly units: number;
  readonly records: number;
}

/** Streams, records, records a unit. */
const SHAPES = [
  [1, 1, 1],
  [1, 5, 2],
  [1, 6, 1],
  [2, 5, 2],
  [2, 9, 1],
  [3, 7, 1],
  [3, 17, 2],
  [4, 9, 3],
  [4, 24, 3],
] as const;

/** How many datasets there are. */
export const DATASETS = SHAPES.length;

const known = new Map<number, Promise<SimulatedDataset>>();

/** The dataset of that number, made at the first call. */
export function simulatedDataset(number: number): Promise<SimulatedDataset> {
  const made = known.get(number) ?? makeDataset(number);
  known.set(number, made);
  return made;
}

async function makeDataset(number: number): Promise<SimulatedDataset> {
  const [streams, records, perUnit] = SHAPES[number] ?? [1, 1, 1];
  const folder = await mkdtemp(join(tmpdir(), "sluice-simulation-"));
  try {
    const source = join(folder, "d.jsonl");
    await writeFile(
      source,
      recordsOf(number, records)
        .map((r) => `${JSON.stringify(r)}\n`)
        .join(""),
    );
    const dataset = join(folder, "streams");
    await mkdir(dataset);
    await splitDataset({
      dataset: source,
      streams,
      folder: dataset,
      maxSamples: undefined,
      shuffleSeed: undefined,
    });
    const flags = { model: MODEL, dataset, output: folder, samplesPerShard: String(perUnit), threads: "1" };
    const options = resolveExtractOptions(
      { ...flags, layers: "0", dtype: "float32", maxSkipped: "all", yes: true },
      {},
    );
    const planned = await planRun({ ...options, command: [] });
    const { weights } = planned.checkpoint;
    // The weights are never read: their hash takes no time, and is that of no file.
    const plan = { ...planned, checkpoint: { ...planned.checkpoint, weights: { ...weights, files: [] } } };
    return { plan, ...(await readAll(plan, perUnit)), records };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function readAll({ dataset, checkpoint, rules }: RunPlan, samplesPerShard: number) {
  const { streams } = dataset;
  const scan = { samplesPerShard, maxRecords: Number.POSITIVE_INFINITY };
  const tables = await Promise.all(streams.map((stream) => scanStream({ stream, ...scan })));
  const model = checkpoint.path;
  const reader = new LocalUnitReader({ streams, tables, samplesPerShard, model, rules, maxSkipped: "all" });
  const samples: UnitSamples[][] = [];
  for (const [stream, { records }] of tables.entries()) {
    const own: UnitSamples[] = [];
    for (let index = 0; index < unitCount(records, samplesPerShard); index++)
      own.push(await reader.read({ stream, index }));
    samples.push(own);
  }
  await reader.close();
  return { tables, samples, units: samples.flat().length };
}

/** Short records of token ids; some cannot be used, so that now and then a unit has no sample. */
function recordsOf(number: number, count: number): unknown[] {
  const random = randomNumbers(`simulation/records/${number}`);
  return Array.from({ length: count }, (_, i) => {
    const isUnusable = i > 0 && random() % 5 === 0;
    const length = 1 + (random() % 5);
    return { id: `r${i}`, token_ids: isUnusable ? [99_999] : Array.from({ length }, () => random() % 90) };
  });
}
