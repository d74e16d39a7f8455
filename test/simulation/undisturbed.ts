// Workers that nobody disturbs: what a run's data should be, and a fleet for tests of one thing.

import { Bucket } from "./bucket.js";
import { Checker, type IsExpected } from "./checker.js";
import { Counts } from "./counts.js";
import type { SimulatedDataset } from "./datasets.js";
import { Fleet } from "./fleet.js";
import { Scheduler } from "./scheduler.js";

/** Kinds of hardware, each with bytes of its own. */
export const HARDWARE = [0, 1, 2];
const MOST_EVENTS = 100_000;

/** A bucket in fine weather, and whoever works on it. */
export class QuietFleet {
  readonly scheduler = new Scheduler("undisturbed");
  readonly bucket = new Bucket(() => this.scheduler.now);
  readonly counts = new Counts();
  readonly checker: Checker;
  readonly #fleet: Fleet;
  #workers = 0;

  constructor(dataset: SimulatedDataset, isExpected: IsExpected = () => true) {
    const { scheduler, bucket, counts } = this;
    this.checker = new Checker(bucket, dataset, isExpected, counts);
    this.#fleet = new Fleet({
      seed: "undisturbed",
      scheduler,
      bucket,
      checker: this.checker,
      counts,
      dataset,
      faults: { requests: new Map(), worker: new Set(), store: new Set() },
      leaseSeconds: 60,
      staleness: 0,
      uploadMs: 100,
    });
  }

  /** Runs a worker to its end. @throws what it raises. */
  async work(hardware: number): Promise<void> {
    const name = `m${this.#workers++}`;
    this.#fleet.run({ name, host: name, workerId: 0, steal: true, hardware, unitMs: 1000 });
    const isOver = () => this.#fleet.living.size === 0 || this.#fleet.failure !== undefined;
    await this.scheduler.run(isOver, MOST_EVENTS);
    if (this.#fleet.failure) throw this.#fleet.failure;
  }
}

const known = new WeakMap<SimulatedDataset, Promise<IsExpected>>();

/** What one worker makes of the dataset that nobody disturbs, on each kind of hardware. */
export function expectedData(dataset: SimulatedDataset): Promise<IsExpected> {
  const found = known.get(dataset) ?? findExpectedData(dataset);
  known.set(dataset, found);
  return found;
}

async function findExpectedData(dataset: SimulatedDataset): Promise<IsExpected> {
  const expected = new Set<string>();
  for (const hardware of HARDWARE) {
    const fleet = new QuietFleet(dataset);
    await fleet.work(hardware);
    fleet.checker.checkEnd();
    for (const [name, { sha256 }] of fleet.checker.commits) expected.add(`${name} ${sha256}`);
  }
  return (unit, sha256) => expected.has(`${unit}.json ${sha256}`);
}
