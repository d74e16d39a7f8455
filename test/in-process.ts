// A worker inside the test's own process, for tests that make its every call fail: `extract` as it ships, in surroundings of the test's. The
// model runs in place, its session shared by all workers of the test, and writes its rows through the file system under test; the dataset is
// looked at in place, too.

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { type Clock, realClock } from "../src/base/clock.js";
import { flattenError } from "../src/base/error-transfer.js";
import { resolveExtractOptions } from "../src/cli/extract-options.js";
import { type DatasetScan, recordsOfStream, sampleRecords, scanStream } from "../src/data/scan.js";
import { splitDataset } from "../src/data/split.js";
import { LocalUnitReader } from "../src/data/unit-reader.js";
import type { Execution, LoadedModel } from "../src/engine/engine.js";
import { createEngine } from "../src/engine/engines.js";
import { buildGraph } from "../src/model/model.js";
import { computeUnit, type UnitJob, type UnitResult } from "../src/run/compute-unit.js";
import { asComputeError, type UnitRunner } from "../src/run/engine-process.js";
import type { Environment } from "../src/run/environment.js";
import { type ExtractReporter, type ExtractResult, extract } from "../src/run/extract.js";
import type { ExtractOptions } from "../src/run/extract-options.js";
import { planRun, type RunPlan } from "../src/run/run-plan.js";
import { Hasher } from "../src/shard/hash.js";
import { type FileSystem, nodeFileSystem } from "../src/store/file-system.js";
import type { Store } from "../src/store/store.js";
import { DEAD } from "./dead-process.js";
import { TINY_MODEL, writeJsonl } from "./helpers.js";

/** A thread for each look at the dataset would take longer than all the rest of such a run. */
const scanInPlace: DatasetScan = {
  sample: sampleRecords,
  scan: (dataset, samplesPerShard, maxSamples) =>
    Promise.all(
      dataset.streams.map((stream, s) => {
        const maxRecords = recordsOfStream(maxSamples, s, dataset.streams.length);
        return scanStream({ stream, samplesPerShard, maxRecords });
      }),
    ),
};

/** What the workers of a test share. */
export interface Workshop {
  readonly plan: RunPlan;
  readonly model: LoadedModel;
  readonly hasher: Hasher;
  /** Settles when the model is free: it computes one unit at a time, for whichever worker. */
  free: Promise<unknown>;
}

/**
 * A small run on a tiny real model and ONNX Runtime: two streams, three units. One record cannot be used, and one unit has
 * none that can. @param changes options that differ.
 */
export async function openWorkshop(folder: string, changes: Partial<ExtractOptions> = {}): Promise<Workshop> {
  const records = Array.from({ length: 5 }, (_, i) => ({
    id: `r${i}`,
    token_ids: i === 0 ? [1, 2, 3] : i === 4 ? [7, 8] : [999],
  }));
  await mkdir(folder, { recursive: true });
  const source = await writeJsonl(join(folder, "d.jsonl"), records);
  const dataset = join(folder, "streams");
  await splitDataset({
    dataset: source,
    streams: 2,
    folder: dataset,
    maxSamples: undefined,
    shuffleSeed: undefined,
  });
  const flags = { model: TINY_MODEL, dataset, output: folder, samplesPerShard: "2", threads: "1" };
  const options = resolveExtractOptions({ ...flags, maxSkipped: "all", yes: true }, {});
  const plan = await planRun({ ...options, ...changes });
  const { load, checkpoint } = plan;
  const engine = createEngine(load.engine, { ...load, weights: "packed" });
  const model = await engine.load(buildGraph(checkpoint, load), checkpoint.weights);
  return { plan, model, hasher: new Hasher(), free: Promise.resolve() };
}

/** Ends what a workshop has started. */
export async function closeWorkshop(workshop: Workshop): Promise<void> {
  await workshop.model.close();
  await workshop.hasher.close();
}

/** One worker's life, from its first call to its last: `extract` itself. @throws as it does. */
export async function work(
  workshop: Workshop,
  parts: {
    readonly store: Store;
    readonly spool: string;
    readonly fs?: FileSystem;
    readonly uuid: string;
    /** Changes the runner: for engines that misbehave. */
    readonly wrap?: (runner: UnitRunner) => UnitRunner;
    /** How many times as fast as others' its clock goes: it need not wait long for somebody who sleeps. */
    readonly speed?: number;
  },
): Promise<ExtractResult["outcome"]> {
  const { plan, hasher } = workshop;
  const { store, spool, uuid, fs = nodeFileSystem, wrap = (runner) => runner, speed = 1 } = parts;
  const environment: Environment = {
    clock: impatientClock(uuid, speed),
    host: "test",
    processes: DEAD.processes, // Gone as soon as somebody else looks.
    signals: { on: () => {}, off: () => {} },
    disk: fs,
    scan: scanInPlace,
    planRun: async () => plan,
    openStore: () => store,
    createHasher: () => ({ hash: (path, ranges) => hasher.hash(path, ranges), close: async () => {} }),
    createReader: (options) => new LocalUnitReader(options),
    createRunner: () => ({ loadSeconds: 0, ...bound(wrap(new InPlaceRunner(workshop, fs))) }),
  };
  return (await extract({ ...plan.options, spool }, silent, environment)).outcome;
}

/** Nobody is told anything. */
const silent: ExtractReporter = { note: () => {}, warn: () => {}, reading: () => {}, started: () => {} };

/** The real clock without the wait for others, or one that goes faster; the first name that it gives is the worker's. */
function impatientClock(uuid: string, speed: number): Clock {
  let given = false;
  return {
    ...realClock,
    now: () => realClock.now() * speed,
    sleep: (ms, signal) => realClock.sleep(Math.min(ms / speed, 5), signal),
    after: (ms, action) => realClock.after(ms / speed, action),
    every: (ms, action) => realClock.every(ms / speed, action),
    uuid: () => {
      const first = !given;
      given = true;
      return first ? uuid : realClock.uuid();
    },
  };
}

const bound = (runner: UnitRunner): UnitRunner => ({
  start: () => runner.start(),
  compute: (job, spool, onProgress) => runner.compute(job, spool, onProgress),
  stop: () => runner.stop(),
});

/** Runs units where it is called, and writes their rows through a file system of the test's. */
class InPlaceRunner implements UnitRunner {
  readonly #workshop: Workshop;
  readonly #fs: FileSystem;

  constructor(workshop: Workshop, fs: FileSystem) {
    this.#workshop = workshop;
    this.#fs = fs;
  }

  async start(): Promise<Execution> {
    return this.#workshop.model.execution;
  }

  async compute(job: UnitJob, spool: string, onProgress?: (tokens: number) => void): Promise<UnitResult> {
    const mine = this.#workshop.free.then(() => this.#compute(job, spool, onProgress));
    this.#workshop.free = mine.catch(() => {});
    return mine;
  }

  async stop(): Promise<void> {}

  async #compute(job: UnitJob, spool: string, onProgress?: (tokens: number) => void): Promise<UnitResult> {
    try {
      const file = await this.#fs.open(spool, "update");
      try {
        return await computeUnit(this.#workshop.model, job, (bytes, at) => file.write(bytes, at), onProgress);
      } finally {
        await file.close();
      }
    } catch (error) {
      throw asComputeError(flattenError(error), spool);
    }
  }
}
