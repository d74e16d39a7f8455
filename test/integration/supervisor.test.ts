// Fleets of real processes, disturbed at random for a short while; `npm run supervise` does the same for as long as one likes.
// The seed is printed; SLUICE_SEED gives the same dataset, faults and disturbances again, though not the same moments.

import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type StoreKind, type SupervisorOptions, supervise } from "../fleet/supervisor.js";
import { temporaryFolder } from "../helpers.js";
import { FAKE_GCS_SERVER } from "./fake-gcs-server.js";
import { VERSITYGW } from "./versitygw.js";

const seed = Number(process.env.SLUICE_SEED ?? Date.now() % 1_000_000);
const SMALL = {
  seed,
  records: 800,
  streams: 4,
  recordsPerShard: 8,
  leaseSeconds: 20,
  say: (line: string) => console.log(line),
};

async function run(store: StoreKind, options: Partial<SupervisorOptions>) {
  const folder = join(await temporaryFolder(), "fleet");
  const crew = [[0, 8]] as const;
  const report = await supervise({ ...SMALL, crew, seconds: 0, isFaulty: false, folder, store, ...options });
  console.log(JSON.stringify(report));
  return report;
}

async function runDisturbed(store: StoreKind) {
  const atLeast = { signals: 5, faultKinds: 4 };
  const report = await run(store, { seconds: 15, everySeconds: 1, isFaulty: true, atLeast });
  expect(Object.values(report.signals).reduce((sum, n) => sum + n, 0)).toBeGreaterThanOrEqual(
    atLeast.signals,
  );
  expect(Object.keys(report.faults).length).toBeGreaterThanOrEqual(atLeast.faultKinds);
}

const ELASTIC = [
  [0, 1],
  [0.15, 8],
  [0.5, 3],
] as const;

describe("1, then 8, then 3 workers give the bytes of one", () => {
  it("in a folder", async () => {
    const report = await run("file", { crew: ELASTIC, leaseSeconds: 2 });
    expect(report.mostWorkers).toBe(8);
    expect(report.signals.SIGKILL).toBeGreaterThanOrEqual(5);
  });

  it.skipIf(FAKE_GCS_SERVER === undefined)("in fake-gcs-server", async () => {
    const report = await run("gcs", { crew: ELASTIC });
    expect(report.mostWorkers).toBe(8);
    expect(report.signals.SIGKILL).toBeGreaterThanOrEqual(5);
  });
});

describe("8 workers that are killed, stopped and asked to end at random, a store that fails", () => {
  it.skipIf(FAKE_GCS_SERVER === undefined)("fake-gcs-server", async () => {
    await runDisturbed("gcs");
  });

  it.skipIf(VERSITYGW === undefined)("versitygw", async () => {
    await runDisturbed("s3");
  });
});
