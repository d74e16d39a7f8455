// Workers on machines that are started, killed, stopped and started again, as a seed decides, until the weather turns fine and
// what is left of them must complete the run.

import { isSluiceError, messageOf } from "../../src/base/errors.js";
import { type ExtractReporter, extract } from "../../src/run/extract.js";
import type { ExtractOptions } from "../../src/run/extract-options.js";
import type { Store } from "../../src/store/store.js";
import type { Bucket } from "./bucket.js";
import { type Checker, InvariantBroken } from "./checker.js";
import type { Counts } from "./counts.js";
import type { SimulatedDataset } from "./datasets.js";
import { MemoryDisk } from "./disk.js";
import type { FaultPlan, WorkerFault } from "./faults.js";
import { environmentOf } from "./machine.js";
import { SimulatedProcess } from "./process.js";
import { RemoteStore, type Weather } from "./remote-store.js";
import type { Scheduler } from "./scheduler.js";

/** One machine of a fleet. */
export interface MachinePlan {
  readonly name: string;
  readonly workerId: number;
  readonly steal: boolean;
  readonly hardware: number;
  readonly unitMs: number;
  /** Whether faults befall its workers. */
  readonly isSpared?: boolean;
}

/** What a fleet works on. */
export interface FleetParts {
  readonly seed: string;
  readonly scheduler: Scheduler;
  readonly bucket: Bucket;
  readonly checker: Checker;
  readonly counts: Counts;
  readonly dataset: SimulatedDataset;
  readonly faults: FaultPlan;
  readonly leaseSeconds: number;
  /** Milliseconds by which listings are stale until the weather is fine. */
  readonly staleness: number;
  /** Changes a worker's store: how tests plant bugs. */
  readonly wrap?: ((store: Store, process: SimulatedProcess) => Store) | undefined;
}

const HOUR = 3_600_000;
/** The clouds' patience after the notice. */
const KILLED_AFTER_NOTICE_MS = 30_000;
/** From the notice to the exit, where the store answers. */
const LEFT_WITHIN_MS = 10_000;
const LIVES = 8;

/** Machines, and the workers that live on them. */
export class Fleet {
  readonly #parts: FleetParts;
  readonly #living = new Set<SimulatedProcess>();
  #isFine = false;
  #isOut = false;
  #lives = 0;
  /** Ends that were no orderly ones. */
  failure: Error | undefined;

  constructor(parts: FleetParts) {
    this.#parts = parts;
  }

  get living(): ReadonlySet<SimulatedProcess> {
    return this.#living;
  }

  /** No new faults from here on; who is stopped stays so. */
  clearUp(): void {
    this.#isFine = true;
    this.#parts.scheduler.note("world", "the weather is fine");
  }

  /** The store answers nobody for so long. */
  outage(ms: number): void {
    const { scheduler, counts } = this.#parts;
    scheduler.note("world", `an outage of ${ms.toFixed(0)} ms`);
    counts.add("fault: outage");
    this.#isOut = true;
    scheduler.plan(ms, () => {
      this.#isOut = false;
    });
  }

  /** Starts a worker on the machine, and again when it ends before the run is complete. */
  run(machine: MachinePlan, disk = new MemoryDisk(), life = 0): void {
    const { scheduler, counts, seed } = this.#parts;
    const again = () => {
      if (this.failure || this.#parts.checker.isComplete || life + 1 >= LIVES) return;
      const lost = this.#isStruck(machine, "machine lost", 0.3);
      if (lost) counts.add("fault: machine lost");
      scheduler.plan(scheduler.chance.between(100, 20_000), () =>
        this.run(machine, lost ? new MemoryDisk() : disk, life + 1),
      );
    };
    const process = new SimulatedProcess(`${machine.name}.${life}`, scheduler, seed, () => {
      counts.add("workers killed");
      this.#living.delete(process);
      again();
    });
    this.#living.add(process);
    this.#lives += 1;
    counts.add("workers started");
    scheduler.note(process.name, `starts as worker ${machine.workerId}`);
    this.#planFaults(machine, process);
    this.#work(machine, process, disk)
      .catch((error: unknown) => {
        this.failure ??= error instanceof Error ? error : new Error(String(error));
      })
      .finally(() => {
        process.end();
        this.#living.delete(process);
        again();
      });
  }

  async #work(machine: MachinePlan, process: SimulatedProcess, disk: MemoryDisk): Promise<void> {
    const { bucket, dataset, counts, wrap, leaseSeconds, scheduler, checker } = this.#parts;
    const wasFine = this.#isFine;
    const remote = new RemoteStore(bucket, process, disk, () => this.#weather(), counts);
    const engine = {
      hardware: machine.hardware,
      unitMs: machine.unitMs,
      dies: () => {
        const isStruck = this.#isStruck(machine, "engine dies", 0.1);
        if (isStruck) counts.add("fault: engine dies");
        return isStruck;
      },
    };
    const environment = environmentOf(process, disk, dataset, engine, wrap?.(remote, process) ?? remote);
    const options: ExtractOptions = {
      ...dataset.plan.options,
      output: bucket.uri,
      workerId: machine.workerId,
      steal: machine.steal,
      leaseSeconds,
      retryFailed: wasFine,
    };
    try {
      const { outcome } = await extract(options, SILENT, environment);
      scheduler.note(process.name, `ends: ${outcome}`);
      counts.add(`ended: ${outcome}`);
      if (outcome === "complete" && machine.steal && !checker.isComplete)
        throw new InvariantBroken(`${process.name} says that the run is complete`);
      if (outcome === "preempted") this.#checkLeaving(process);
    } catch (error) {
      scheduler.note(process.name, `ends: ${messageOf(error)}`);
      if (!this.#isExcused(error, wasFine)) throw error;
      counts.add(`ended: ${isSluiceError(error) ? error.kind : "?"}`);
    }
  }

  /** Where nothing else befell it, a worker that was told to stop is gone within its grace, and keeps no lease. */
  #checkLeaving(process: SimulatedProcess): void {
    const { faults, counts, scheduler, checker } = this.#parts;
    const toldAt = process.toldAt ?? Number.NaN;
    if (faults.requests.size > 0 || faults.store.has("outage") || process.wasStopped) return;
    counts.add("left within the grace, leases released");
    if (!(scheduler.now - toldAt <= LEFT_WITHIN_MS))
      throw new InvariantBroken(`${process.name} left ${scheduler.now - toldAt} ms after it was told to`);
    const [held] = checker.leasesOf(process.name);
    if (held !== undefined) throw new InvariantBroken(`${process.name} left and kept ${held}`);
  }

  /** Whether what befell a worker explains its end. */
  #isExcused(error: unknown, wasFine: boolean): boolean {
    const { faults } = this.#parts;
    if (isSluiceError(error, "preempted"))
      return faults.worker.has("preempted") || faults.worker.has("signalled twice");
    if (isSluiceError(error, "store"))
      return !wasFine && (faults.requests.size > 0 || faults.store.has("outage"));
    if (isSluiceError(error, "data") && /^the engine failed on/.test(error.message))
      return !wasFine && faults.worker.has("engine dies");
    if (isSluiceError(error, "data") && /missing/.test(error.message))
      return faults.store.has("data deleted");
    return false;
  }

  #weather(): Weather {
    const { faults, staleness } = this.#parts;
    return this.#isFine ? FINE : { requests: faults.requests, staleness, isOut: this.#isOut };
  }

  #isStruck(machine: MachinePlan, fault: WorkerFault, probability = 1): boolean {
    if (this.#isFine || machine.isSpared || !this.#parts.faults.worker.has(fault)) return false;
    return this.#parts.scheduler.chance.is(probability);
  }

  #planFaults(machine: MachinePlan, process: SimulatedProcess): void {
    const { scheduler, counts } = this.#parts;
    const { chance } = scheduler;
    const strike = (fault: WorkerFault, probability: number, delay: number, action: () => void) => {
      if (!this.#isStruck(machine, fault, probability)) return;
      scheduler.plan(delay, () => {
        if (this.#isFine || !process.isAlive) return;
        counts.add(`fault: ${fault}`);
        action();
      });
    };
    const soon = () => chance.around(chance.pick([500, 5_000, 60_000]));
    if (this.#isStruck(machine, "killed at a step", 0.7)) {
      counts.add("fault: killed at a step");
      process.killAfter(Math.ceil(10 ** chance.between(0, 3)));
    }
    strike("preempted", 0.6, soon(), () => {
      process.signal("SIGTERM");
      scheduler.plan(KILLED_AFTER_NOTICE_MS, () => process.kill());
    });
    strike("signalled twice", 0.5, soon(), () => {
      process.signal("SIGINT");
      scheduler.plan(chance.pick([500, 3_000]), () => process.signal("SIGINT"));
    });
    for (let i = 0; i < 3; i++)
      strike("stopped for seconds", 0.6, soon(), () => process.stop(chance.between(500, 120_000), false));
    strike("stopped for hours", 0.5, soon(), () => process.stop(chance.between(0.5, 10) * HOUR, false));
    strike("asleep with its clock", 0.5, soon(), () => process.stop(chance.between(0.01, 10) * HOUR, true));
    strike("clock jump", 0.8, soon(), () => process.jump(chance.between(-48, 48) * HOUR));
  }
}

const FINE: Weather = { requests: new Map(), staleness: 0, isOut: false };
const SILENT: ExtractReporter = { note() {}, warn() {}, reading() {}, started() {} };
