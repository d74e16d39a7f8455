// The end of a run in a bucket: who has nobody to wait for waits for nobody, and asks for little. On a virtual clock.

import { expect, it } from "vitest";
import type { Requests } from "./fleet/counting-store.js";
import { Fleet, fleetDataset } from "./fleet/workers.js";

const LATENCY_MS = 30;
/** No multiple of the time between heartbeats: the last comes a second after another at the earliest. */
const COMPUTE_MS = 62_000;
const STORE_MS = 300;

const sum = (requests: Requests) => Object.values(requests).reduce((a, b) => a + b, 0);

async function setUp(units: number, streams = 1) {
  const fleet = new Fleet(await fleetDataset(streams, units), LATENCY_MS);
  const { store, scheduler } = fleet;
  let last = { at: 0, requests: 0 };
  let listsBefore = 0;
  const create = store.create.bind(store);
  store.create = async (name, body, options) => {
    const created = await create(name, body, options);
    if (/^tpu_\d+\/shard_\d+\.json$/.test(name)) last = { at: scheduler.now, requests: sum(store.requests) };
    return created;
  };
  const start = (workerId: number) =>
    fleet.start({
      name: `worker-${workerId}`,
      workerId,
      computeMs: COMPUTE_MS,
      storeMs: STORE_MS,
      onCompute: () => {
        listsBefore = store.requests.list ?? 0;
      },
    });
  /** Milliseconds and requests since the last commit. */
  const since = () => ({ ms: scheduler.now - last.at, requests: sum(store.requests) - last.requests });
  /** Requests since the last unit was begun that look at what others do. */
  const looks = () => (store.requests.list ?? 0) - listsBefore;
  return { fleet, start, since, looks };
}

it("ends ten requests' time after the last commit, where a worker is alone", async () => {
  const { fleet, start, since, looks } = await setUp(4);
  const worker = start(0);
  await fleet.run();
  expect(worker.result?.progress.shards).toBe(4);
  expect(since().ms).toBeLessThan(300);
  expect(since().requests).toBeLessThanOrEqual(12);
  // A poll of others every five seconds would have been a dozen while the last unit was computed.
  expect(looks()).toBeLessThanOrEqual(3);
});

it("is as quick where it goes on with what a worker before it has begun", async () => {
  const { fleet, start, since } = await setUp(6);
  const doomed = start(0);
  fleet.scheduler.plan(2.5 * COMPUTE_MS, () => doomed.process.kill());
  let isLater = false;
  fleet.scheduler.plan(4 * COMPUTE_MS, () => {
    isLater = true;
  });
  await fleet.scheduler.run(() => isLater, 1_000_000);
  const heir = start(0);
  await fleet.run();
  expect(heir.result?.progress.shards).toBeLessThan(6);
  expect(since().ms).toBeLessThan(500);
});

it("waits for others who have just stored theirs: they write down what is in their streams", async () => {
  const { fleet, start, since } = await setUp(6, 2);
  const workers = [start(0), start(1)];
  await fleet.run();
  expect(workers.reduce((total, { result }) => total + (result?.progress.shards ?? 0), 0)).toBe(12);
  expect(since().ms).toBeLessThan(16_000);
  expect(fleet.store.requests["read commit"] ?? 0).toBeLessThanOrEqual(1);
});
