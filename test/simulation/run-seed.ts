// One seed: a fleet, its faults, and what must hold in spite of them.

import { unitName } from "../../src/plan/unit.js";
import type { Store } from "../../src/store/store.js";
import { Bucket } from "./bucket.js";
import { Checker, InvariantBroken, WORLD } from "./checker.js";
import { Counts } from "./counts.js";
import { DATASETS, type SimulatedDataset, simulatedDataset } from "./datasets.js";
import { drawFaults, type FaultPlan } from "./faults.js";
import { Fleet, type MachinePlan } from "./fleet.js";
import type { SimulatedProcess } from "./process.js";
import { Chance, Scheduler } from "./scheduler.js";
import { expectedData, HARDWARE } from "./undisturbed.js";

const MOST_EVENTS = 400_000;
const MINUTE = 60_000;
/** What retries, back-off and what a server asks to wait may add to the time that a run takes in fine weather. */
const PATIENCE_MS = 15 * MINUTE;

/** How a seed ended. */
export interface SeedResult {
  readonly seed: string;
  /** What went wrong; undefined where nothing did. */
  readonly failure: string | undefined;
  readonly events: number;
  readonly hours: number;
  readonly historyHash: string;
  readonly counts: Counts;
}

/** How to run it. */
export interface SeedOptions {
  /** Gets the history. */
  readonly onLine?: (line: string) => void;
  /** Plants a bug: changes the workers' stores. */
  readonly wrap?: (store: Store, process: SimulatedProcess) => Store;
  /** Plants a bug: does something to the bucket now and then. */
  readonly meddle?: (bucket: Bucket, checker: Checker) => void;
}

/** Runs one seed. */
export async function runSeed(seed: string, options: SeedOptions = {}): Promise<SeedResult> {
  const chance = new Chance(`setup/${seed}`);
  const dataset = await simulatedDataset(chance.whole(0, DATASETS - 1));
  const expected = await expectedData(dataset);
  const scheduler = new Scheduler(seed, options.onLine);
  const counts = new Counts();
  const bucket = new Bucket(() => scheduler.now);
  const checker = new Checker(bucket, dataset, expected, counts);
  let failure: string | undefined;
  const fail = (error: unknown) => {
    failure ??= error instanceof Error ? (error.stack ?? error.message) : String(error);
  };
  process.on("unhandledRejection", fail);
  try {
    await new Simulation({ seed, chance, dataset, scheduler, counts, bucket, checker, ...options }).run();
  } catch (error) {
    fail(error);
  } finally {
    process.off("unhandledRejection", fail);
  }
  const { events, now } = scheduler;
  return { seed, failure, events, hours: now / 3_600_000, historyHash: scheduler.historyHash(), counts };
}

interface SimulationParts extends SeedOptions {
  readonly seed: string;
  readonly chance: Chance;
  readonly dataset: SimulatedDataset;
  readonly scheduler: Scheduler;
  readonly counts: Counts;
  readonly bucket: Bucket;
  readonly checker: Checker;
}

class Simulation {
  readonly #parts: SimulationParts;
  readonly #faults: FaultPlan;
  readonly #fleet: Fleet;
  readonly #machines: readonly MachinePlan[];
  readonly #leaseSeconds: number;
  readonly #stormMs: number;
  #fineAt = Number.POSITIVE_INFINITY;
  #completeAt: number | undefined;
  #gcPlanned = 0;
  #isSomethingDeleted = false;
  #isRunAgain = false;

  constructor(parts: SimulationParts) {
    const { chance, seed } = parts;
    this.#parts = parts;
    this.#faults = drawFaults(seed);
    this.#leaseSeconds = chance.pick([20, 20, 60]);
    this.#stormMs = chance.pick([1, 5, 20]) * MINUTE;
    this.#machines = drawMachines(chance, this.#faults);
    const staleness = this.#faults.store.has("stale listing")
      ? chance.pick([1_000, 10_000, 60_000, 600_000])
      : 0;
    const uploadMs = chance.pick([10, 2_000, 20_000]);
    this.#fleet = new Fleet({
      ...parts,
      faults: this.#faults,
      leaseSeconds: this.#leaseSeconds,
      staleness,
      uploadMs,
    });
  }

  async run(): Promise<void> {
    const { scheduler, checker } = this.#parts;
    this.#describe();
    this.#plantOrphans();
    for (const machine of this.#machines)
      scheduler.plan(scheduler.chance.around(5_000), () => this.#fleet.run(machine));
    this.#planWorld();
    scheduler.plan(this.#stormMs, () => this.#clearUp());
    await scheduler.run(() => this.#isOver(), MOST_EVENTS);
    const [waiting] = this.#fleet.living;
    if (waiting) throw new InvariantBroken(`${waiting.name} waits for ever`);
    checker.checkEnd();
    this.#checkTime();
  }

  #isOver(): boolean {
    const { scheduler, checker } = this.#parts;
    if (this.#fleet.failure) throw this.#fleet.failure;
    if (checker.isComplete && this.#completeAt === undefined) {
      this.#completeAt = scheduler.now;
      // While others are asleep, with units that they take for theirs.
      for (const hours of [0.01, 3]) this.#planGc(hours * 60 * MINUTE);
    }
    for (const process of this.#fleet.living)
      if (process.isStranded) throw new InvariantBroken(`${process.name} waits for what nothing will bring`);
    const isIdle = this.#fleet.living.size === 0 && this.#gcPlanned === 0;
    if (this.#fineAt > scheduler.now || !isIdle || !checker.isComplete) return false;
    if (this.#isSomethingDeleted && !this.#isRunAgain) {
      // Somebody's last look may have been before the data were deleted, and his index after it (seed 247681 of an earlier build).
      this.#isRunAgain = true;
      this.#runHealthy("again");
      return false;
    }
    return true;
  }

  /** From here on the run must come to its end. */
  #clearUp(): void {
    const { scheduler, bucket, counts } = this.#parts;
    this.#fineAt = scheduler.now;
    this.#fleet.clearUp();
    if (this.#faults.store.has("bucket copied") && this.#fleet.living.size === 0) {
      counts.add("fault: bucket copied");
      bucket.copyAll();
    }
    this.#runHealthy("last");
  }

  /** The same command once more, on a machine that stays. */
  #runHealthy(name: string): void {
    const { host = "h", unitMs = 1000, hardware = 0 } = this.#machines[0] ?? {};
    this.#fleet.run({ name, host, workerId: 0, steal: true, isSpared: true, hardware, unitMs });
  }

  /** Objects under data names that are no whole shards, as a store might have kept of an upload that broke. */
  #plantOrphans(): void {
    if (!this.#faults.store.has("torn orphan")) return;
    const { bucket, dataset, chance, counts } = this.#parts;
    for (const [stream, { units }] of dataset.tables.entries()) {
      for (const index of units.keys()) {
        if (!chance.is(0.4)) continue;
        counts.add("fault: torn orphan");
        bucket.create(`${unitName({ stream, index })}.safetensors`, Buffer.from("torn"), WORLD);
      }
    }
  }

  #planWorld(): void {
    const { scheduler, bucket, checker, counts, meddle } = this.#parts;
    const { chance } = scheduler;
    if (this.#faults.store.has("outage"))
      scheduler.plan(this.#stormMs * chance.real(), () =>
        this.#fleet.outage(chance.pick([1, 10, 60]) * MINUTE),
      );
    if (this.#faults.store.has("data deleted")) {
      scheduler.plan(this.#stormMs * scheduler.chance.real(), () => {
        const committed = [...checker.commits.values()].filter(({ data }) => data !== null);
        if (committed.length === 0) return;
        const { stream, data } = scheduler.chance.pick(committed);
        counts.add("fault: data deleted");
        this.#isSomethingDeleted = true;
        scheduler.note(WORLD, `deletes tpu_${stream}/${data}`);
        bucket.remove(`tpu_${stream}/${data}`, undefined, WORLD);
      });
    }
    for (let i = 0; i < 3; i++) this.#planGc(this.#stormMs);
    if (!meddle) return;
    const next = () => {
      meddle(bucket, checker);
      if (!checker.isComplete) scheduler.plan(1_000, next);
    };
    scheduler.plan(1_000, next);
  }

  #planGc(within: number): void {
    const { scheduler } = this.#parts;
    if (!this.#faults.store.has("gc")) return;
    this.#gcPlanned += 1;
    scheduler.plan(within * scheduler.chance.real(), () => {
      this.#gcPlanned -= 1;
      this.#fleet.collectGarbage();
    });
  }

  /** In fine weather a run takes what its units take, and what the silence of the dead adds. */
  #checkTime(): void {
    const { dataset } = this.#parts;
    const unitMs = Math.max(...this.#machines.map((machine) => machine.unitMs));
    const most = 3 * dataset.units * (unitMs + 20_000) + 2000 * this.#leaseSeconds + PATIENCE_MS;
    const took = (this.#completeAt ?? Number.POSITIVE_INFINITY) - this.#fineAt;
    if (took > most)
      throw new InvariantBroken(
        `complete ${(took / 1000).toFixed(0)} s after the weather had turned fine, not within ${(most / 1000).toFixed(0)} s`,
      );
  }

  #describe(): void {
    const { scheduler, dataset } = this.#parts;
    const { requests, worker, store } = this.#faults;
    scheduler.note(
      WORLD,
      `${dataset.units} units of ${dataset.records} records in ${dataset.tables.length} streams; leases of ${this.#leaseSeconds} s; storm for ${this.#stormMs} ms`,
    );
    scheduler.note(
      WORLD,
      `faults: ${[...requests].map(([kind, p]) => `${kind} ${p.toFixed(3)}`).join(", ")}; ${[...worker, ...store].join(", ")}`,
    );
    for (const machine of this.#machines) scheduler.note(WORLD, JSON.stringify(machine));
  }
}

function drawMachines(chance: Chance, faults: FaultPlan): MachinePlan[] {
  const count = chance.whole(1, 6);
  const ids = chance.pick(["same", "own", "any"]);
  // Data that were deleted can only be made again by a machine that makes the same.
  const kinds = chance.is(0.4) && !faults.store.has("data deleted") ? HARDWARE : [chance.pick(HARDWARE)];
  const unitMs = chance.pick([200, 2_000, 10_000, 40_000]);
  const same = chance.whole(0, 3);
  const isOneHost = chance.is(0.25);
  const noSteal = chance.is(0.15);
  return Array.from({ length: count }, (_, i) => ({
    name: `m${i}`,
    host: isOneHost ? "h" : `h${i}`,
    workerId: ids === "same" ? same : ids === "own" ? i : chance.whole(0, 5),
    steal: !(noSteal && chance.is(0.5)),
    hardware: chance.pick(kinds),
    unitMs: unitMs * chance.pick([1, 1, 1, 3]),
  }));
}
