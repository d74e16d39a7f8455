// The one pass over a dataset at a run's creation, in MB/s, beside SHA-256 alone. node bench/scan.mjs (after npm run build)

import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openDataset } from "../dist/data/dataset.js";
import { scanStream } from "../dist/data/scan.js";
import { describeMachine } from "./machine.mjs";

const folder = mkdtempSync(join(tmpdir(), "sluice-bench-"));
const results = {};
for (const line of [100, 1000, 6000]) {
  const file = join(folder, "d.jsonl");
  writeFileSync(file, `${"x".repeat(line - 1)}\n`.repeat(Math.floor(500e6 / line)));
  const started = performance.now();
  const [stream] = (await openDataset(file, [])).streams;
  await scanStream({ stream, samplesPerShard: 200, maxRecords: Number.POSITIVE_INFINITY });
  results[`mb_s_lines_of_${line}`] = 500 / ((performance.now() - started) / 1000);
  if (line === 6000) {
    const bytes = readFileSync(file);
    const before = performance.now();
    createHash("sha256").update(bytes).digest();
    results.mb_s_sha256_alone = 500 / ((performance.now() - before) / 1000);
  }
}
rmSync(folder, { recursive: true });
console.log(JSON.stringify({ bench: "scan", ...describeMachine(), results }));
