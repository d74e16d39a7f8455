// The end of a run in a bucket: who has nobody to wait for waits for nobody, and asks for little. On a virtual clock.

import { expect, it } from "vitest";
import type { Body } from "../src/store/store.js";
import { CountingStore, type Requests } from "./fleet/counting-store.js";
import { Mortal } from "./fleet/mortal.js";
import { VirtualClock } from "./fleet/virtual-clock.js";
import { makeRun, workInFleet } from "./fleet/workers.js";

const LATENCY_MS = 30;
/** No multiple of the time between heartbeats: the last comes a second after another at the earliest. */
const COMPUTE_MS = 62_000;
const STORE_MS = 300;

/** A bucket that remembers when the last commit was made, and what had been asked for by then. */
class Bucket extends CountingStore {
  committedAt = 0;
  before: Requests = {};
  readonly #clock: VirtualClock;

  constructor(clock: VirtualClock) {
    super({ clock, latencyMs: LATENCY_MS });
    this.#clock = clock;
  }

  override async create(name: string, body: Body, options?: { signal?: AbortSignal }) {
    const created = await super.create(name, body, options);
    if (/^tpu_\d+\/shard_\d+\.json$/.test(name)) {
      this.committedAt = this.#clock.now();
      this.before = { ...this.requests };
    }
    return created;
  }

  /** Requests since the last commit. */
  get after(): number {
    const sum = (requests: Requests) => Object.values(requests).reduce((a, b) => a + b, 0);
    return sum(this.requests) - sum(this.before);
  }
}

async function setUp(units: number, streams = 1) {
  const clock = new VirtualClock();
  const store = new Bucket(clock);
  const { run, bytes } = makeRun(streams, units);
  await clock.run(store.create("run.json", bytes));
  const common = { store, run, runFile: bytes, clock, workerId: 0, leaseSeconds: 60 };
  return { clock, store, common: { ...common, computeMs: COMPUTE_MS, storeMs: STORE_MS } };
}

it("ends ten requests' time after the last commit, where a worker is alone", async () => {
  const { clock, store, common } = await setUp(4);
  expect(await clock.run(workInFleet({ ...common, uuid: "alone" }))).toBe(4);
  expect(clock.now() - store.committedAt).toBeLessThan(300);
  expect(store.after).toBeLessThanOrEqual(12);
  // Nobody was looked at while the last unit was computed, which takes twelve polls.
  expect(store.requests.list).toBeLessThanOrEqual(10);
});

it("is as quick where it goes on with what a worker before it has begun", async () => {
  const { clock, store, common } = await setUp(6);
  const mortal = new Mortal(store);
  void workInFleet({ ...common, store: mortal.store, uuid: "before" });
  clock.after(2.5 * COMPUTE_MS, () => mortal.kill());
  await clock.run(clock.sleep(4 * COMPUTE_MS));
  expect(await clock.run(workInFleet({ ...common, uuid: "after" }))).toBeLessThan(6);
  expect(clock.now() - store.committedAt).toBeLessThan(500);
});

it("waits for others who have just stored theirs: they write down what is in their streams", async () => {
  const { clock, store, common } = await setUp(6, 2);
  const made = [0, 1].map((workerId) => workInFleet({ ...common, workerId, uuid: `worker-${workerId}` }));
  expect((await clock.run(Promise.all(made))).reduce((a, b) => a + b)).toBe(12);
  expect(clock.now() - store.committedAt).toBeLessThan(16_000);
  expect(store.requests["read commit"] ?? 0).toBeLessThanOrEqual(1);
});
