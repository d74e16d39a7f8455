import { expect, it } from "vitest";
import { CountingStore } from "./fleet/counting-store.js";
import { VirtualClock } from "./fleet/virtual-clock.js";
import { makeRun, workInFleet } from "./fleet/workers.js";

it.each([
  [32, 32, 100, false],
  [32, 32, 25, true],
  [64, 4, 200, false],
  [1, 4, 50, false],
])(
  "%i workers, %i streams of %i units, same id %s",
  async (workers, streams, units, same) => {
    const clock = new VirtualClock();
    const store = new CountingStore({ clock, latencyMs: 30 });
    const { run, bytes } = makeRun(streams, units);
    await clock.run(store.create("run.json", bytes));
    let computed = 0;
    const t0 = performance.now();
    await clock.run(
      Promise.all(
        Array.from({ length: workers }, (_, i) =>
          workInFleet({
            store,
            run,
            runFile: bytes,
            clock,
            uuid: `worker-${i}`,
            workerId: same ? 0 : i,
            leaseSeconds: 60,
            computeMs: 5_000 + ((i * 7919) % 500),
            storeMs: 3000,
            onCompute: () => computed++,
          }),
        ),
      ),
    );
    const total = streams * units;
    const gaps = [...store.writes].flatMap(([name, times]) =>
      times.slice(1).map((t, k) => ({ name, gap: t - (times[k] ?? 0), last: k === times.length - 2 })),
    );
    gaps.sort((a, b) => a.gap - b.gap);
    console.log(
      (performance.now() - t0).toFixed(0),
      "ms real;",
      clock.now() / 1000,
      "s; overhead",
      store.overhead / total,
      "computed",
      computed / total,
    );
    console.log(
      Object.entries(store.requests)
        .map(([k, v]) => `${k} ${(v / total).toFixed(3)}`)
        .join("; "),
      gaps.slice(0, 3),
    );
    expect(store.requests["create commit"]).toBeGreaterThanOrEqual(total);
  },
  600_000,
);
