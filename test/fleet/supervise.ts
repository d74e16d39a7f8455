// `npm run supervise -- --minutes 5 --workers 8 --store gcs --seed 7`: fleets of real processes on run after run, disturbed at
// random, until the time is over. `--once` stays with one run and disturbs it for that long: `--once --records 200000 --streams 32
// --workers 32 --records-per-shard 64`. SLUICE_TEST_FAKE_GCS and SLUICE_TEST_VERSITYGW name the servers' programs.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type StoreKind, type SupervisorReport, supervise } from "./supervisor.js";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "1" },
    workers: { type: "string", default: "8" },
    store: { type: "string", default: "gcs" },
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
    records: { type: "string", default: "2000" },
    streams: { type: "string", default: "4" },
    "records-per-shard": { type: "string", default: "8" },
    "lease-seconds": { type: "string", default: "20" },
    every: { type: "string", default: "1.5" },
    once: { type: "boolean", default: false },
    "no-faults": { type: "boolean", default: false },
  },
});
const until = performance.now() + 60_000 * Number(values.minutes);
const reports: SupervisorReport[] = [];
const count = (of: (report: SupervisorReport) => Readonly<Record<string, number>>) => {
  const sums: Record<string, number> = {};
  for (const report of reports)
    for (const [kind, n] of Object.entries(of(report))) sums[kind] = (sums[kind] ?? 0) + n;
  return sums;
};
for (let seed = Number(values.seed); ; seed++) {
  const folder = await mkdtemp(join(tmpdir(), "sluice-supervise-"));
  try {
    const seconds = (until - performance.now()) / 1000;
    const report = await supervise({
      folder: join(folder, "fleet"),
      store: values.store as StoreKind,
      seed,
      records: Number(values.records),
      streams: Number(values.streams),
      recordsPerShard: Number(values["records-per-shard"]),
      crew: [[0, Number(values.workers)]],
      everySeconds: Number(values.every),
      seconds,
      leaseSeconds: Number(values["lease-seconds"]),
      isFaulty: !values["no-faults"] && values.store !== "file",
      say: (line) => console.error(line),
    });
    reports.push(report);
    console.error(JSON.stringify(report));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  if (values.once || performance.now() > until) break;
}
console.log(
  JSON.stringify(
    {
      runs: reports.length,
      units: reports.reduce((sum, { units }) => sum + units, 0),
      signals: count((report) => report.signals),
      ends: count((report) => report.ends),
      faults: count((report) => report.faults),
      requests: count((report) => report.requests),
      waste:
        reports.reduce((sum, { waste, units }) => sum + waste * units, 0) /
        reports.reduce((sum, { units }) => sum + units, 0),
      seconds: reports.reduce((sum, { seconds }) => sum + seconds, 0),
      megabytes: Math.max(...reports.map(({ megabytes }) => megabytes)),
    },
    null,
    2,
  ),
);
