// A worker inside the test's own process, for tests that make its every call fail: the loop, claims, leases, log, shard
// writer, spool and stores are those that ship, put together as `run/extract.ts` does; the model runs in place, its session
// shared by all workers of the test, and writes its rows through the file system under test. The dataset is looked at in place, too.

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { flattenError } from "../src/base/error-transfer.js";
import { ownProcess } from "../src/base/process-identity.js";
import { resolveExtractOptions } from "../src/cli/extract-options.js";
import { type DatasetScan, recordsOfStream, sampleRecords, scanStream } from "../src/data/scan.js";
import { splitDataset } from "../src/data/split.js";
import { LocalUnitReader } from "../src/data/unit-reader.js";
import type { Execution, LoadedModel } from "../src/engine/engine.js";
import { createEngine } from "../src/engine/engines.js";
import { buildGraph } from "../src/model/model.js";
import { Claims } from "../src/run/claims.js";
import { computeUnit, type UnitJob, type UnitResult } from "../src/run/compute-unit.js";
import { DerivedFiles } from "../src/run/derived-files.js";
import { asComputeError, type UnitRunner } from "../src/run/engine-process.js";
import type { ExtractOptions } from "../src/run/extract-options.js";
import { Heartbeat, type HeartbeatState } from "../src/run/heartbeat.js";
import { Leases } from "../src/run/leases.js";
import { CommitLog } from "../src/run/log.js";
import { openRun } from "../src/run/open-run.js";
import { paceOf } from "../src/run/pace.js";
import { Preemption } from "../src/run/preemption.js";
import { Progress } from "../src/run/progress.js";
import { planRun, type RunPlan } from "../src/run/run-plan.js";
import { ShardWriter } from "../src/run/shard-writer.js";
import { Spool } from "../src/run/spool.js";
import { runWorker, type WorkerOutcome } from "../src/run/worker.js";
import { Hasher } from "../src/shard/hash.js";
import { type FileSystem, nodeFileSystem } from "../src/store/file-system.js";
import type { Store } from "../src/store/store.js";
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

/** One worker's life, from its first call to its last. @throws as `extract` does. */
export async function work(
  workshop: Workshop,
  parts: {
    readonly store: Store;
    readonly spool: string;
    readonly fs?: FileSystem;
    readonly uuid: string;
    /** Changes the runner: for engines that misbehave. */
    readonly wrap?: (runner: UnitRunner) => UnitRunner;
  },
): Promise<WorkerOutcome> {
  const { plan, hasher } = workshop;
  const { store, uuid, fs = nodeFileSystem } = parts;
  const { options } = plan;
  const preemption = new Preemption();
  // A process that is gone as soon as somebody else looks.
  const me = ownProcess();
  const process = me && { ...me, pid: 2 ** 22 + 1 };
  const leases = new Leases(store, { worker: uuid, process, leaseSeconds: options.leaseSeconds });
  const progress = new Progress();
  let status: HeartbeatState["status"] = "starting";
  const heartbeat = new Heartbeat(store, uuid, () => ({ ...NO_NEWS, uuid, status }));
  await heartbeat.start(paceOf(store, options.leaseSeconds).beatMs);
  try {
    const opened = await openRun({
      store,
      plan,
      leases,
      hasher,
      signal: preemption.stopping,
      scan: scanInPlace,
      onNote: () => {},
      onWarning: () => {},
      onReading: () => {},
    });
    const spool = new Spool(parts.spool, fs);
    await spool.prepare();
    const log = new CommitLog(store, opened.run, opened.bytes);
    await log.refresh();
    // Before the loop, and not beside it as `extract` does, so that the calls come in the same order each time.
    const missing = await log.findMissingData();
    const { workerId, steal } = options;
    const repair = Promise.resolve(missing);
    const claims = new Claims(log, leases, { uuid, stream: workerId, steal, repair });
    const { samples_per_shard: samplesPerShard, max_skipped: maxSkipped } = opened.run.identity;
    const reader = new LocalUnitReader({
      streams: plan.dataset.streams,
      tables: opened.tables,
      samplesPerShard,
      model: plan.checkpoint.path,
      rules: plan.rules,
      maxSkipped,
    });
    const shards = new ShardWriter({
      run: opened.run,
      store,
      log,
      spool,
      hasher,
      format: plan.format,
      activations: plan.activations,
      selection: plan.selection,
      limits: plan.limits,
      worker: { uuid, workerId: options.workerId, host: "test", process, started: "" },
      ready: opened.weights,
    });
    const inPlace = new InPlaceRunner(workshop, fs);
    const runner = parts.wrap?.(inPlace) ?? inPlace;
    const derived = new DerivedFiles({
      store,
      run: opened.run,
      log,
      workerId,
      datasetPath: "",
      modelPath: "",
      checkpointDir: undefined,
    });
    try {
      status = "running";
      await derived.write("running", []);
      const outcome = await runWorker({
        claims,
        leases,
        reader,
        runner,
        shards,
        preemption,
        progress,
        pollMs: 5,
      });
      status = outcome;
      const isWhole = log.committed === log.unitTotal;
      await log.refresh();
      if (isWhole) await derived.complete(progress.takeStreams(), progress.shards > 0);
      else await derived.write(outcome, progress.takeStreams(), undefined, true);
      return outcome;
    } finally {
      await spool.removeAll();
    }
  } catch (error) {
    status = "failed";
    throw error;
  } finally {
    await leases.releaseAll().catch(() => {});
    await heartbeat.stop().catch(() => {});
    preemption.dispose();
  }
}

const NO_NEWS = {
  worker_id: 0,
  host: "test",
  pid: 0,
  process: null,
  started: "",
  unit: null,
  shards: 0,
  samples: 0,
  tokens: 0,
  tokens_computed: 0,
  bytes: 0,
  seconds: 0,
  message: null,
};

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
