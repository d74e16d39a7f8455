// One worker from start to end: opens the run, starts its parts, runs the loop, writes the derived files, and says how it
// ended. What the command line, the quickstart and the tests call.

import { cacheFolder } from "../base/cache-folder.js";
import type { Clock } from "../base/clock.js";
import { isSluiceError, messageOf, SluiceError } from "../base/errors.js";
import { orAborted } from "../base/or-aborted.js";
import { plural } from "../base/plural.js";
import { randomNumbers } from "../base/random.js";
import { hideSecrets } from "../base/redact.js";
import { listenForSilence } from "../base/silence.js";
import type { Unit, UnitPlace } from "../plan/unit.js";
import type { FileHasher } from "../shard/hash.js";
import { describeRetry } from "../store/retry.js";
import { isRemote, type Store } from "../store/store.js";
import { Claims } from "./claims.js";
import { completeRun } from "./complete-run.js";
import { DerivedFiles } from "./derived-files.js";
import type { UnitRunner } from "./engine-process.js";
import { type Environment, realEnvironment } from "./environment.js";
import { checkSpace, compareSpoolSpace, type Done, expectedOf } from "./expected-size.js";
import type { ExtractOptions } from "./extract-options.js";
import { type DescribedState, Heartbeat, type HeartbeatState, type WorkerIdentity } from "./heartbeat.js";
import { Leases } from "./leases.js";
import { CommitLog } from "./log.js";
import { type OpenedRun, openRun } from "./open-run.js";
import { type Pace, paceOf, shortestLease } from "./pace.js";
import { Preemption } from "./preemption.js";
import { Progress } from "./progress.js";
import type { RunPlan } from "./run-plan.js";
import { ShardWriter } from "./shard-writer.js";
import { Spool } from "./spool.js";
import { openSpoolFolder } from "./spool-folder.js";
import { runWorker } from "./worker.js";

const DOWNLOAD_NOTE_MS = 5_000;
/** Between looks, which cost no request, whether the own stream is complete. */
const FINISH_EVERY_MS = 5_000;

/** What a worker tells while it runs. */
export interface ExtractReporter {
  /** Something worth a line. */
  note(message: string): void;
  /** Something wrong that does not end the worker. */
  warn(message: string): void;
  /** How far a pass over many bytes is that comes before the loop: the dataset, the weights. */
  reading(what: string, bytes: number, total: number): void;
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
  /** Seconds that loading the model took; 0 where there was nothing to compute. */
  readonly loadSeconds: number;
}

/** Runs one worker until the run is complete or it is told to stop. @throws SluiceError as its parts do. */
export async function extract(
  options: ExtractOptions,
  reporter: ExtractReporter,
  environment: Environment = realEnvironment,
): Promise<ExtractResult> {
  const preemption = new Preemption(environment.clock, environment.signals);
  preemption.listen();
  try {
    return await new Extraction(options, reporter, preemption, environment).run();
  } finally {
    preemption.dispose();
  }
}

class Extraction {
  readonly #options: ExtractOptions;
  readonly #reporter: ExtractReporter;
  readonly #preemption: Preemption;
  readonly #environment: Environment;
  readonly #clock: Clock;
  readonly #progress: Progress;
  readonly #hasher: FileHasher;
  readonly #worker: WorkerIdentity;
  #status: HeartbeatState["status"] = "starting";
  #message: string | null = null;

  constructor(
    options: ExtractOptions,
    reporter: ExtractReporter,
    preemption: Preemption,
    environment: Environment,
  ) {
    const { clock } = environment;
    this.#options = options;
    this.#reporter = reporter;
    this.#preemption = preemption;
    this.#environment = environment;
    this.#clock = clock;
    this.#progress = new Progress((message) => reporter.warn(message), clock);
    this.#hasher = environment.createHasher();
    this.#worker = {
      uuid: clock.uuid(),
      workerId: options.workerId,
      host: environment.host,
      process: environment.processes.own(),
      started: clock.date().toISOString(),
    };
  }

  async run(): Promise<ExtractResult> {
    await this.#prepareCheckpointFolder();
    const plan = await this.#plan();
    this.#noteMadeWeights(plan);
    const store = this.#environment.openStore(this.#options.output, {
      clock: this.#clock,
      signal: this.#preemption.now,
      onRetry: (note) => {
        const text = describeRetry(note);
        if (text !== null) this.#reporter.warn(text);
      },
    });
    const pace = this.#choosePace(store);
    const leases = new Leases(store, {
      worker: this.#worker.uuid,
      process: this.#worker.process,
      processes: this.#environment.processes,
      leaseSeconds: pace.silenceSeconds,
      readsPerLook: pace.readsPerLook,
      clock: this.#clock,
    });
    const heartbeat = new Heartbeat(store, this.#worker.uuid, () => this.#describe(), this.#clock);
    await heartbeat.start(pace.beatMs);
    try {
      const result = await this.#work(plan, store, leases, pace);
      this.#status = result.outcome;
      return result;
    } catch (error) {
      const stopped = this.#preemption.stopping.aborted && !isSluiceError(error);
      this.#status = stopped ? "preempted" : "failed";
      this.#message = hideSecrets(messageOf(error));
      if (stopped) throw preempted(this.#preemption);
      throw error;
    } finally {
      // Leases expire; the error under way matters more.
      await Promise.allSettled([leases.releaseAll(), heartbeat.stop(), this.#hasher.close()]);
    }
  }

  /** Where it cannot be written, that is better known before hours of work than after them. */
  async #prepareCheckpointFolder(): Promise<void> {
    const { checkpointDir } = this.#options;
    if (checkpointDir === undefined) return;
    await this.#environment.disk.makeFolder(checkpointDir).catch((cause: unknown) => {
      throw new SluiceError("config", "--checkpoint-dir cannot be made a folder", {
        found: messageOf(cause),
        fix: "Name another folder, with --checkpoint-dir or CHECKPOINT_DIR.",
        cause,
      });
    });
  }

  #choosePace(store: Store): Pace {
    const { leaseSeconds } = this.#options;
    const shortest = shortestLease(store);
    if (leaseSeconds < shortest)
      this.#reporter.note(
        `--lease-seconds ${shortest} instead of ${leaseSeconds}: heartbeats in an object store come every 5 s at most`,
      );
    return paceOf(store, Math.max(shortest, leaseSeconds));
  }

  async #plan(): Promise<RunPlan> {
    const { stopping } = this.#preemption;
    const { model, dataset } = this.#options;
    const silence = listenForSilence(this.#clock, (seconds) =>
      this.#reporter.warn(
        `opening the model ${model} and the dataset ${dataset} has taken more than ${seconds} s: does the disk or network mount that they lie on answer?`,
      ),
    );
    let noted = 0;
    try {
      const plan = this.#environment.planRun(this.#options, {
        signal: stopping,
        warn: (message) => this.#reporter.warn(message),
        onProgress: ({ repo, done, total }) => {
          silence.heard();
          if (this.#clock.now() - noted < DOWNLOAD_NOTE_MS && done < total) return;
          noted = this.#clock.now();
          const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;
          this.#reporter.note(
            `${repo.kind} ${repo.name}: ${megabytes(done)} of ${megabytes(total)} downloaded`,
          );
        },
      });
      return await orAborted(plan, stopping);
    } catch (error) {
      if (stopping.aborted && !isSluiceError(error)) throw preempted(this.#preemption);
      throw error;
    } finally {
      silence.end();
    }
  }

  #noteMadeWeights({ madeBytes }: RunPlan): void {
    if (madeBytes === 0) return;
    const size =
      madeBytes < 1e9 ? `${(madeBytes / 1e6).toFixed(0)} MB` : `${(madeBytes / 1e9).toFixed(1)} GB`;
    this.#reporter.note(`converted weights (${size}) are kept in ${cacheFolder("weights")}`);
  }

  async #work(plan: RunPlan, store: Store, leases: Leases, pace: Pace): Promise<ExtractResult> {
    const { stopping } = this.#preemption;
    const opened = await openRun({
      store,
      plan,
      leases,
      hasher: this.#hasher,
      signal: stopping,
      clock: this.#clock,
      pollMs: pace.pollMs,
      scan: this.#environment.scan,
      onNote: (message) => this.#reporter.note(message),
      onWarning: (message) => this.#reporter.warn(message),
      onReading: (what, bytes, total) => this.#reporter.reading(what, bytes, total),
    });
    if (this.#options.retryFailed) await leases.clearFailures();
    const folder = await openSpoolFolder(this.#options.spool, store, this.#environment.disk);
    const spool = new Spool(folder, this.#environment.disk, isRemote(store) ? opened.run.run : null, {
      clock: this.#clock,
      processes: this.#environment.processes,
    });
    await spool.prepare();
    const log = new CommitLog(store, opened.run, opened.bytes);
    await log.refresh();
    this.#refuseForeign(log, store);
    const units = log.unitTotal;
    const isDone = (place: UnitPlace) => log.seems(place);
    await spool.dropFinished(isDone);
    const first = spool.finishedUnits().flatMap(({ stream, index }) => log.findUnit(stream, index) ?? []);
    if (first.length > 0)
      this.#reporter.note(`${plural(first.length, "finished shard")} in ${folder}: stored first`);
    await this.#checkStart(store, spool, opened, { committed: log.committed, units });
    const indexBefore = (await store.head("index.json"))?.version ?? null;
    // From here to the `try` nothing is awaited: what is started is stopped.
    const runner = this.#environment.createRunner(plan.load);
    // Loads the model while the commits are read; where it fails, the first unit tries again and says why.
    if (log.committed < units) runner.start().catch(() => {});
    const repair = log.isRemote
      ? log.findMissingNames(plan.format.extension, stopping)
      : log.findMissingData(stopping);
    repair.then(
      (missing) => this.#warnOfMissing(missing),
      () => {}, // Raised by the next claim.
    );
    const { samples_per_shard: samplesPerShard, max_skipped: maxSkipped } = opened.run.identity;
    const reader = this.#environment.createReader({
      streams: plan.dataset.streams,
      tables: opened.tables,
      samplesPerShard,
      model: plan.checkpoint.path,
      rules: plan.rules,
      maxSkipped,
    });
    const { workerId, steal, dataset, model, checkpointDir } = this.#options;
    const claims = new Claims(log, leases, {
      uuid: this.#worker.uuid,
      stream: workerId,
      steal,
      repair,
      first,
      clock: this.#clock,
    });
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
      like: plan.like,
      ready: opened.weights,
      clock: this.#clock,
    });
    const derived = new DerivedFiles({
      store,
      run: opened.run,
      log,
      workerId,
      datasetPath: hideSecrets(dataset),
      modelPath: hideSecrets(model),
      checkpointDir,
      clock: this.#clock,
    });
    const progress = this.#progress;
    // A derived file that cannot be written now is written later, or its cause shows where it matters.
    const writeDerived = () => derived.write("running", progress.takeStreams(), stopping).catch(() => {});
    let endWriting = () => {};
    let engineEnded = Promise.resolve();
    // At moments of its own: workers that were started together must not write together.
    const startWriting = () => {
      void writeDerived();
      endWriting = this.#clock.every(pace.derivedMs, () => void writeDerived());
    };
    const finish = async () => {
      await derived.finishStream(stopping);
      if (progress.isWaiting && progress.unit === null) await derived.writeNotes();
    };
    const endFinishing = log.isRemote
      ? this.#clock.every(FINISH_EVERY_MS, () => void finish().catch(() => {}))
      : () => {};
    const parts = {
      claims,
      leases,
      reader,
      runner,
      shards,
      preemption: this.#preemption,
      progress,
      pollMs: pace.pollMs,
      clock: this.#clock,
    };
    try {
      this.#status = "running";
      if (pace.firstDerivedMs === 0) startWriting();
      else endWriting = this.#clock.after(pace.firstDerivedMs * shareOf(this.#worker.uuid), startWriting);
      this.#reporter.started(progress, opened, () => log.committed);
      const deadline = this.#dropAtDeadline(runner);
      const work = () => Promise.race([runWorker(parts), deadline]);
      let outcome = await work();
      endFinishing();
      let isWhole = false;
      while (outcome === "complete" && log.committed === units) {
        engineEnded = runner.stop(); // Beside the rest: there is nothing left to compute, or it starts again.
        const missing = await completeRun({
          store,
          log,
          leases,
          derived,
          progress,
          indexBefore,
          pollMs: pace.pollMs,
          clock: this.#clock,
          signal: stopping,
        });
        isWhole = missing.length === 0;
        if (isWhole) break;
        this.#warnOfMissing(missing);
        claims.repair(missing);
        outcome = await work();
      }
      endWriting();
      if (isWhole) await derived.finishCheckpoint(stopping);
      else {
        if (!log.isRemote) await log.refresh(); // What others did meanwhile must not be missing from the last files that this worker writes.
        await derived.write(outcome, progress.takeStreams(), this.#preemption.now, true);
      }
      return {
        outcome,
        run: opened.run.run,
        committed: log.committed,
        units,
        progress,
        loadSeconds: runner.loadSeconds,
      };
    } finally {
      endWriting();
      endFinishing();
      await Promise.all([engineEnded, runner.stop(), reader.close(), spool.removeAll()]);
      await spool.dropFinished(isDone);
    }
  }

  #warnOfMissing(units: readonly Unit[]): void {
    if (units.length === 0) return;
    this.#reporter.warn(`the data of ${plural(units.length, "committed shard")} is missing: making it again`);
  }

  /** The grace is over, or a second signal came: the engine is killed, whatever it is doing. */
  #dropAtDeadline(runner: UnitRunner): Promise<"preempted"> {
    return new Promise((resolve) => {
      this.#preemption.now.addEventListener(
        "abort",
        () => void runner.stop().then(() => resolve("preempted")),
        { once: true },
      );
    });
  }

  async #checkStart(store: Store, spool: Spool, { run, tables }: OpenedRun, done: Done): Promise<void> {
    const { workerId, steal } = this.#options;
    if (!steal && workerId >= tables.length)
      this.#reporter.warn(
        `the dataset has no stream ${workerId} (0 to ${tables.length - 1}): with --no-steal nothing is left to do`,
      );
    const expected = expectedOf(run);
    if (!expected || done.committed >= done.units) return;
    const { yes } = this.#options;
    this.#reporter.note(await checkSpace(store, expected, done, yes));
    const free = isRemote(store) ? await this.#environment.disk.freeSpace?.(spool.folder) : null;
    compareSpoolSpace(spool.folder, expected, free ?? null, yes);
  }

  #refuseForeign(log: CommitLog, store: Store): void {
    const [foreign] = log.foreignNames();
    if (foreign === undefined) return;
    throw new SluiceError("data", `${store.uri}/${foreign} is a foreign file: this run has no such unit`, {
      fix: "It was copied from another run: move it away and run extract again.",
      values: { name: foreign },
    });
  }

  #describe(): DescribedState {
    const { uuid, workerId, host, started } = this.#worker;
    const p = this.#progress;
    return {
      uuid,
      worker_id: workerId,
      host,
      pid: process.pid,
      process: this.#worker.process,
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

/** A number from 0 to 1 that the key alone decides. */
function shareOf(key: string): number {
  return randomNumbers(`share/${key}`)() / 2 ** 32;
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
