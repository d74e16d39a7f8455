// One worker from start to end: opens the run, starts its parts, runs the loop, writes the derived files, and says how it
// ended. What the command line, the quickstart and the tests call.

import { randomUUID } from "node:crypto";
import { mkdir, rename, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { isSluiceError, messageOf, SluiceError } from "../base/errors.js";
import { ownProcess } from "../base/process-identity.js";
import { ThreadedUnitReader } from "../data/unit-reader.js";
import { Hasher } from "../shard/hash.js";
import type { Store } from "../store/store.js";
import { openStore } from "../store/stores.js";
import { Claims } from "./claims.js";
import { type CheckpointContext, describeCheckpoint, writeDerived } from "./derived.js";
import { EngineProcess } from "./engine-process.js";
import type { ExtractOptions } from "./extract-options.js";
import { Heartbeat, type HeartbeatState, type WorkerIdentity } from "./heartbeat.js";
import { Leases } from "./leases.js";
import { CommitLog } from "./log.js";
import { type OpenedRun, openRun } from "./open-run.js";
import { Preemption } from "./preemption.js";
import { Progress } from "./progress.js";
import { planRun, type RunPlan } from "./run-plan.js";
import { ShardWriter } from "./shard-writer.js";
import { Spool } from "./spool.js";
import { runWorker } from "./worker.js";

const DERIVED_EVERY_MS = 30_000;

/** What a worker tells while it runs. */
export interface ExtractReporter {
  /** Something worth a line. */
  note(message: string): void;
  /** Something wrong that does not end the worker. */
  warn(message: string): void;
  /** Called when the loop begins: the live counters, and what is to be done in all. */
  started(progress: Progress, run: OpenedRun, committed: () => number): void;
}

/** How a worker ended. */
export interface ExtractResult {
  readonly outcome: "complete" | "preempted";
  readonly run: string;
  /** Units with a commit, and all units. */
  readonly committed: number;
  readonly units: number;
  readonly progress: Progress;
}

/** Runs one worker until the run is complete or it is told to stop. @throws SluiceError as its parts do. */
export async function extract(options: ExtractOptions, reporter: ExtractReporter): Promise<ExtractResult> {
  const preemption = new Preemption();
  preemption.listen();
  try {
    return await new Extraction(options, reporter, preemption).run();
  } finally {
    preemption.dispose();
  }
}

class Extraction {
  readonly #options: ExtractOptions;
  readonly #reporter: ExtractReporter;
  readonly #preemption: Preemption;
  readonly #progress: Progress;
  readonly #hasher = new Hasher();
  readonly #worker: WorkerIdentity;
  #status: HeartbeatState["status"] = "starting";
  #message: string | null = null;

  constructor(options: ExtractOptions, reporter: ExtractReporter, preemption: Preemption) {
    this.#options = options;
    this.#reporter = reporter;
    this.#preemption = preemption;
    this.#progress = new Progress((message) => reporter.warn(message));
    this.#worker = {
      uuid: randomUUID(),
      workerId: options.workerId,
      host: hostname(),
      process: ownProcess(),
      started: new Date().toISOString(),
    };
  }

  async run(): Promise<ExtractResult> {
    const plan = await planRun(this.#options);
    const store = openStore(this.#options.output);
    const leases = new Leases(store, {
      worker: this.#worker.uuid,
      process: this.#worker.process,
      leaseSeconds: this.#options.leaseSeconds,
    });
    const heartbeat = new Heartbeat(store, this.#worker.uuid, () => this.#describe());
    await heartbeat.start(this.#options.leaseSeconds);
    try {
      const result = await this.#work(plan, store, leases);
      this.#status = result.outcome;
      return result;
    } catch (error) {
      const stopped = this.#preemption.stopping.aborted && !isSluiceError(error);
      this.#status = stopped ? "preempted" : "failed";
      this.#message = messageOf(error);
      if (stopped) throw preempted(this.#preemption);
      throw error;
    } finally {
      await leases.releaseAll().catch(() => {}); // They expire; the error under way matters more.
      await heartbeat.stop().catch(() => {});
      await this.#hasher.close();
    }
  }

  async #work(plan: RunPlan, store: Store, leases: Leases): Promise<ExtractResult> {
    const { stopping } = this.#preemption;
    const opened = await openRun({
      store,
      plan,
      leases,
      hasher: this.#hasher,
      signal: stopping,
      onProgress: (what, bytes) => {
        if (bytes === undefined || bytes === 0) this.#reporter.note(what);
      },
    });
    if (this.#options.retryFailed) await leases.clearFailures();
    const spool = new Spool(this.#options.spool ?? store.spool ?? join(tmpdir(), "sluice-spool"));
    await spool.prepare();
    const log = new CommitLog(store, opened.run, opened.bytes);
    await log.refresh();
    this.#refuseForeign(log, store);
    const repair = await log.findMissingData(stopping);
    if (repair.length > 0)
      this.#reporter.warn(`the data of ${repair.length} committed shards is missing: making it again`);
    const runner = new EngineProcess(plan.load);
    const { samples_per_shard: samplesPerShard, max_skipped: maxSkipped } = opened.run.identity;
    const reader = new ThreadedUnitReader({
      streams: plan.dataset.streams,
      tables: opened.tables,
      samplesPerShard,
      model: plan.checkpoint.folder,
      rules: plan.rules,
      maxSkipped,
    });
    const { workerId, steal, leaseSeconds } = this.#options;
    const claims = new Claims(log, leases, { uuid: this.#worker.uuid, stream: workerId, steal, repair });
    const shards = new ShardWriter({
      run: opened.run,
      store,
      log,
      spool,
      hasher: this.#hasher,
      format: plan.format,
      activations: plan.activations,
      selection: plan.selection,
      limits: plan.limits,
      worker: this.#worker,
      ready: opened.weights,
    });
    const units = [...log.units()];
    const committed = () => units.filter((unit) => log.seems(unit)).length;
    const derive = (status: CheckpointContext["status"], complete: boolean) =>
      this.#derive(store, opened, log, status, complete);
    const timer = setInterval(() => void derive("running", false).catch(() => {}), DERIVED_EVERY_MS);
    timer.unref();
    try {
      this.#status = "running";
      await derive("running", false);
      this.#reporter.started(this.#progress, opened, committed);
      const pollMs = Math.min(1000, leaseSeconds * 250);
      const parts = {
        claims,
        leases,
        reader,
        runner,
        shards,
        preemption: this.#preemption,
        progress: this.#progress,
        pollMs,
      };
      const outcome = await Promise.race([runWorker(parts), this.#dropAtDeadline(runner)]);
      clearInterval(timer);
      const isWhole = outcome === "complete" && committed() === units.length;
      if (isWhole) {
        await log.refresh();
        const missing = await log.findMissingData();
        if (missing.length > 0)
          throw new SluiceError(
            "data",
            `the data of ${missing.length} shards went missing while this worker ran`,
            { fix: "Run extract again." },
          );
      }
      await derive(outcome === "complete" ? "complete" : "preempted", isWhole);
      return {
        outcome,
        run: opened.run.run,
        committed: committed(),
        units: units.length,
        progress: this.#progress,
      };
    } finally {
      clearInterval(timer);
      await runner.stop();
      await reader.close();
      await spool.removeAll();
    }
  }

  /** The grace is over, or a second signal came: the engine is killed, whatever it is doing. */
  #dropAtDeadline(runner: EngineProcess): Promise<"preempted"> {
    return new Promise((resolve) => {
      this.#preemption.now.addEventListener(
        "abort",
        () => void runner.stop().then(() => resolve("preempted")),
        { once: true },
      );
    });
  }

  #refuseForeign(log: CommitLog, store: Store): void {
    const [foreign] = log.foreignNames();
    if (foreign === undefined) return;
    throw new SluiceError("data", `${store.uri}/${foreign} is a foreign file: this run has no such unit`, {
      fix: "It was copied from another run: move it away and run extract again.",
      values: { name: foreign },
    });
  }

  async #derive(
    store: Store,
    opened: OpenedRun,
    log: CommitLog,
    status: CheckpointContext["status"],
    complete: boolean,
  ): Promise<void> {
    const { workerId, dataset, model, checkpointDir, steal } = this.#options;
    const commits = await log.readAll();
    const context = { datasetPath: dataset, modelPath: model, status };
    const streams = steal ? opened.tables.keys() : [workerId].filter((s) => s < opened.tables.length);
    await writeDerived(store, opened.run, commits, { ...context, streams, workerId, complete });
    if (checkpointDir === undefined) return;
    const own = describeCheckpoint(
      opened.run,
      workerId,
      commits.filter((c) => c.stream === workerId),
      context,
    );
    await mkdir(checkpointDir, { recursive: true });
    const file = join(checkpointDir, `checkpoint_worker_${workerId}.json`);
    await writeFile(`${file}.${process.pid}`, `${JSON.stringify(own, null, 1)}\n`);
    await rename(`${file}.${process.pid}`, file);
  }

  #describe(): Omit<HeartbeatState, "beat" | "at"> {
    const { uuid, workerId, host, started } = this.#worker;
    const p = this.#progress;
    return {
      uuid,
      worker_id: workerId,
      host,
      pid: process.pid,
      status: this.#status === "running" && p.isWaiting && p.unit === null ? "waiting" : this.#status,
      started,
      unit: p.unit,
      shards: p.shards,
      samples: p.samples,
      tokens: p.tokens,
      tokens_computed: p.tokensComputed,
      bytes: p.bytes,
      seconds: p.seconds,
      message: this.#message,
    };
  }
}

/** The error that ends a worker that was told to stop. */
export function preempted(preemption: Preemption): SluiceError {
  return new SluiceError(
    "preempted",
    `stopped by ${String(preemption.stopping.reason)} before the run was complete`,
    {
      fix: "Start the same command again: it goes on where the commits end.",
    },
  );
}
