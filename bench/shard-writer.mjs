// Writing one shard of bfloat16 and float32 activations: encoding, statistics, positional writes, then hashing in a thread.
// The ratio is to plain write() and SHA-256 of the same bytes. node bench/shard-writer.mjs (after npm run build)

import { createHash } from "node:crypto";
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { encodeBfloat16 } from "../dist/base/float16.js";
import { Hasher } from "../dist/shard/hash.js";
import { Statistics } from "../dist/shard/statistics.js";
import { describeMachine } from "./machine.mjs";

const WIDTH = 896;
const ROWS = 1024;
const TENSORS = 200;
const folder = mkdtempSync(join(tmpdir(), "sluice-bench-"));
const values = Float32Array.from({ length: ROWS * WIDTH }, (_, i) => Math.sin(i) * 10);
const hasher = new Hasher();
const results = {};
for (const dtype of ["float32", "bfloat16"]) {
  const array = dtype === "float32" ? values : encodeBfloat16(values);
  const data = new Uint8Array(array.buffer);
  const bytes = data.length * TENSORS;
  const seconds = (from) => (performance.now() - from) / 1000;

  let started = performance.now();
  const sha = createHash("sha256");
  let file = openSync(join(folder, "plain"), "w");
  for (let t = 0; t < TENSORS; t++) {
    writeSync(file, data);
    sha.update(data);
  }
  closeSync(file);
  const plain = seconds(started);

  started = performance.now();
  const statistics = Array.from({ length: TENSORS }, () => new Statistics());
  for (const s of statistics) s.update(data, dtype, WIDTH);
  const statisticsSeconds = seconds(started);

  started = performance.now();
  file = openSync(join(folder, "shard"), "w");
  for (let t = 0; t < TENSORS; t++) writeSync(file, data, 0, data.length, t * data.length);
  closeSync(file);
  const writing = seconds(started);

  started = performance.now();
  await hasher.hash(
    join(folder, "shard"),
    Array.from({ length: TENSORS }, (_, t) => ({ offset: t * data.length, length: data.length })),
  );
  const hashing = seconds(started);
  // The engine's process writes shard k + 1 while the worker's thread hashes shard k: the slower of the two is the rate.
  const piped = Math.max(statisticsSeconds + writing, hashing);
  results[dtype] = {
    statistics_mb_s: bytes / 1e6 / statisticsSeconds,
    write_mb_s: bytes / 1e6 / writing,
    hash_mb_s: bytes / 1e6 / hashing,
    pipeline_mb_s: bytes / 1e6 / piped,
    ratio_to_plain_write_and_sha256: plain / piped,
  };
}
await hasher.close();
rmSync(folder, { recursive: true });
console.log(JSON.stringify({ bench: "shard-writer", ...describeMachine(), results }));
