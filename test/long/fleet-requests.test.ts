// What a fleet asks of an object store, counted over whole runs on a virtual clock: requests a shard, how often one name is written,
// and what a thousand such workers come to together. Units take five seconds: shorter ones would be more requests a second, longer ones
// more heartbeats a shard.

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, it } from "vitest";
import { unitAt } from "../../src/plan/unit.js";
import { decodeRunFile } from "../../src/run/identity.js";
import { commitName } from "../../src/run/log.js";
import { MemoryStore } from "../../src/store/memory.js";
import { isRemote } from "../../src/store/store.js";
import { commitOf, dataOf, RECORDS_A_SHARD } from "../fleet/made-run.js";
import { Fleet, fleetDataset } from "../fleet/workers.js";

const UNIT_MS = 5_000;

interface FleetPlan {
  readonly workers: number;
  readonly streams: number;
  readonly units: number;
  /** Whether all believe to be worker 0. */
  readonly sameId?: boolean;
  readonly unitMs?: number;
}

async function runFleet({ workers, streams, units, sameId = false, unitMs = UNIT_MS }: FleetPlan) {
  const fleet = new Fleet(await fleetDataset(streams, units), 30);
  let computed = 0;
  for (let i = 0; i < workers; i++)
    fleet.start({
      name: `worker-${i}`,
      workerId: sameId ? 0 : i,
      storeMs: 0.6 * unitMs,
      // Machines of one kind are not quite equally fast.
      computeMs: unitMs * (1 + ((i * 7919) % 100) / 1000),
      onCompute: () => {
        computed += 1;
      },
    });
  await fleet.run();
  const { store, scheduler } = fleet;
  const total = streams * units;
  expect(store.requests["create data"]).toBe(total);
  return { store, seconds: scheduler.now / 1000, total, computed, perShard: store.overhead / total };
}

it("takes at most six requests a shard besides the data, and no name is written more often than every 5 s", async () => {
  const { store, seconds, total, computed, perShard } = await runFleet({
    workers: 8,
    streams: 8,
    units: 500,
  });
  const shares = Object.entries(store.requests).map(([kind, n]) => `${kind} ${(n / total).toFixed(2)}`);
  console.log(`${perShard.toFixed(2)} requests a shard: ${shares.join(", ")}`);
  expect(perShard).toBeLessThanOrEqual(6);
  expect(computed, "no unit is computed twice").toBe(total);

  for (const [name, times] of store.writes) {
    const gaps = times.slice(1).map((time, i) => time - (times[i] ?? 0));
    // The last state of a worker comes when it ends.
    const last = name.startsWith("workers/") ? gaps.pop() : undefined;
    expect(Math.min(...gaps), name).toBeGreaterThanOrEqual(5_000);
    if (last !== undefined) expect(last, name).toBeGreaterThanOrEqual(1_000);
  }

  // S3 counts by prefix, 3,500 and 5,500 a second: here all are taken together, as if every name began alike.
  const ofThousand = (isWrite: boolean) => {
    const kinds = Object.entries(store.requests).filter(
      ([kind]) => /^(create|replace|remove)/.test(kind) === isWrite,
    );
    return (kinds.reduce((sum, [, n]) => sum + n, 0) / seconds / 8) * 1000;
  };
  console.log(
    `1,000 workers: ${ofThousand(true).toFixed(0)} writes and ${ofThousand(false).toFixed(0)} reads a second`,
  );
  expect(ofThousand(true)).toBeLessThan(1_000);
  expect(ofThousand(false)).toBeLessThan(5_000);
});

it.each([UNIT_MS, 1_500])(
  "shares one id without writing the same files all the time, or computing a unit twice: units of %i ms",
  async (unitMs) => {
    const { store, total, computed, perShard } = await runFleet({
      ...{ workers: 16, streams: 4, units: 200, sameId: true, unitMs },
    });
    console.log(`${perShard.toFixed(2)} requests a shard with one id`);
    expect(computed).toBe(total);
    // Beside the six: what a worker asks at its start and end, for 50 units.
    expect(perShard).toBeLessThanOrEqual(6.6);
    expect(store.requests["read commit"] ?? 0, "others' commits stand in notes").toBeLessThan(total / 20);
    const times = store.writes.get("tpu_0/metadata.json") ?? [];
    const gaps = times.slice(1).map((time, i) => time - (times[i] ?? 0));
    expect(Math.min(...gaps.slice(0, -1), 5_000)).toBeGreaterThanOrEqual(5_000);
  },
);

it.each([true, false])(
  "takes about six requests a shard where 16 workers share one stream, whatever its length (one id: %s)",
  async (sameId) => {
    const few = await runFleet({ workers: 16, streams: 1, units: 800, sameId });
    const many = await runFleet({ workers: 16, streams: 1, units: 1600, sameId });
    const more = (many.store.overhead - few.store.overhead) / (many.total - few.total);
    console.log(
      `${few.perShard.toFixed(2)} requests a shard of 50 a worker, ${many.perShard.toFixed(2)} of 100, ${more.toFixed(2)} each more`,
    );
    expect(few.perShard).toBeLessThanOrEqual(6.4);
    expect(many.perShard).toBeLessThanOrEqual(6.1);
    expect(more).toBeLessThanOrEqual(6);
    for (const { store, computed, total } of [few, many]) {
      expect(computed, "no unit is computed twice").toBe(total);
      expect(store.requests["read commit"] ?? 0).toBeLessThan(total / 20);
    }
  },
);

it("takes over a dead worker's units within the lease time, without knowing its machine", async () => {
  const fleet = new Fleet(await fleetDataset(2, 6), 30);
  const { store, scheduler } = fleet;
  const takenOver: number[] = [];
  const create = store.create.bind(store);
  store.create = (name, body) => {
    if (/^leases\/tpu_\d+\/shard_\d+\.[1-9]\d*$/.test(name)) takenOver.push(scheduler.now);
    return create(name, body);
  };
  const times = { computeMs: 4_000, storeMs: 1_000 };
  const doomed = fleet.start({ ...times, name: "doomed", workerId: 1 });
  const survivor = fleet.start({ ...times, name: "survivor", workerId: 0 });
  const diedAt = 12_000;
  scheduler.plan(diedAt, () => doomed.process.kill());
  await fleet.run();
  expect(survivor.result).toMatchObject({ outcome: "complete", committed: 12 });
  expect(survivor.result?.progress.shards).toBeGreaterThanOrEqual(9);
  expect(takenOver.length, "what it was computing").toBeGreaterThanOrEqual(1);
  for (const at of takenOver) expect(at - diedAt).toBeLessThanOrEqual(60_000);
});

it("joins a run of 100,000 shards in a few seconds, whatever the shape, and reads no commit", async () => {
  for (const [streams, units] of [
    [32, 3125],
    [1, 100_000],
  ] as const) {
    const dataset = await fleetDataset(streams, units);
    const fleet = new Fleet(dataset, 50, 16);
    const { store, scheduler } = fleet;
    const times = { computeMs: 1000, storeMs: 1000 };
    // Who creates the run is gone before it has made anything.
    const creator = fleet.start({ ...times, name: "creator", workerId: 0 });
    await fleet.run(() => store.requests["create units"] === streams);
    creator.process.kill();
    const run = decodeRunFile(await MemoryStore.prototype.read.call(store, "run.json"), store.uri);
    const records = units * RECORDS_A_SHARD;
    for (let stream = 0; stream < streams; stream++)
      for (let index = 0; index < units; index++) {
        if (stream === 0 && index === 77) continue; // Open.
        const unit = unitAt(stream, index, records, RECORDS_A_SHARD);
        store.fill(commitName(unit), Buffer.from(JSON.stringify(commitOf(run, unit, "a"))));
        store.fill(commitName(unit).replace(".json", ".safetensors"), dataOf(unit));
      }
    const heap = memory();
    const before = scheduler.now;
    const real = performance.now();
    let firstUnit = 0;
    fleet.start({
      ...times,
      name: "late",
      workerId: 5,
      onCompute: () => {
        firstUnit = scheduler.now;
      },
    });
    await fleet.run(() => firstUnit > 0);
    const seconds = (firstUnit - before) / 1000;
    const bytesEach = (memory() - heap) / (streams * units);
    console.log(
      `${streams} streams: first unit after ${seconds.toFixed(1)} s and ${store.requests.list} pages ` +
        `(${((performance.now() - real) / 1000).toFixed(1)} s of computing), ${bytesEach.toFixed(0)} bytes a commit`,
    );
    expect(seconds).toBeLessThan(10);
    expect(store.requests["read commit"] ?? 0).toBe(0);
    expect(bytesEach).toBeLessThan(300);
    expect(isRemote(store)).toBe(true);
  }
});

function memory(): number {
  setFlagsFromString("--expose-gc");
  runInNewContext("gc")();
  return process.memoryUsage().heapUsed;
}
