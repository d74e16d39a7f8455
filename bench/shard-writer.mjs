// The shard writer as a worker runs it: an engine whose outputs are ready (24 layers of a 0.5B model, samples of 300 to 700 tokens)
// goes through computeUnit in a child process, which casts, sums and writes shard k + 1, while this process's thread hashes shard k. The
// rate is that of the two together, once the first shard is written; beside it what each of the steps does alone, on one core.
// node bench/shard-writer.mjs [shards of each dtype: 6] (after npm run build)

import { fork } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { crc32c } from "@node-rs/crc32";
import { bytesOf } from "../dist/base/dtype.js";
import { computeIntoFile } from "../dist/run/compute-into-file.js";
import { Spool } from "../dist/run/spool.js";
import { encodeRows } from "../dist/shard/encode.js";
import { Hasher } from "../dist/shard/hash.js";
import { safetensorsFormat } from "../dist/shard/safetensors.js";
import { Statistics } from "../dist/shard/statistics.js";
import { describeMachine } from "./machine.mjs";

const WIDTH = 896;
const LAYERS = 24;
const SAMPLES = 16;
const PER_BATCH = 4;
const PIECE = 256 << 10;
/** Batches whose outputs differ: more would not fit the memory that a batch's outputs have. */
const lengths = Array.from({ length: SAMPLES }, (_, s) => 300 + ((s * 137) % 401));
const offsets = Int32Array.from([0, ...lengths]).map((_, i) =>
  lengths.slice(0, i).reduce((a, n) => a + n, 0),
);
const rowsOfUnit = offsets.at(-1);
/** What an engine gives for each dtype in the file: bfloat16 is cast on the device. */
const CASES = [
  { dtype: "float32", given: "float32" },
  { dtype: "bfloat16", given: "bfloat16" },
  { dtype: "float16", given: "float32" },
];

if (process.send) serve();
else await measure();

/** The engine's process. */
function serve() {
  process.on("disconnect", () => process.exit(0));
  const outputs = new Map();
  process.on("message", async ({ job, spool, given }) => {
    if (!outputs.has(given)) outputs.set(given, makeOutputs(given));
    const made = outputs.get(given);
    const model = {
      execution: {},
      async run({ rows }) {
        return job.activations.map(({ name, width }, a) => {
          const data = made[a].subarray(0, rows.length * width * bytesOf(given));
          return { name, rows: rows.length, width, dtype: given, data };
        });
      },
      async close() {},
    };
    const before = process.cpuUsage();
    if (spool) await computeIntoFile(model, job, spool);
    process.send(process.cpuUsage(before));
  });
}

/** Values of each layer, enough for any batch. */
function makeOutputs(dtype) {
  const base = Float32Array.from({ length: PER_BATCH * Math.max(...lengths) * WIDTH }, (_, i) => Math.sin(i));
  return Array.from({ length: LAYERS }, (_, layer) => {
    const values = base.map((value) => value * (layer + 1));
    return encodeRows(new Uint8Array(values.buffer), "float32", dtype).data;
  });
}

function jobOf(dtype) {
  const activations = Array.from({ length: LAYERS }, (_, layer) => ({
    name: `blocks.${layer}.hook_resid_post`,
    layer,
    rowShape: [WIDTH],
    width: WIDTH,
    dtype,
    meaning: "",
  }));
  const layout = safetensorsFormat.layout({
    activations,
    rowOffsets: offsets,
    index: [],
    sampleIds: new BigInt64Array(SAMPLES),
    previews: [],
    metadata: {},
  });
  const batches = Array.from({ length: SAMPLES / PER_BATCH }, (_, b) => {
    const samples = Array.from({ length: PER_BATCH }, (_, i) => i * (SAMPLES / PER_BATCH) + b);
    return { samples, length: Math.max(...samples.map((s) => lengths[s])), computed: 0 };
  });
  const job = {
    inputIds: new Int32Array(rowsOfUnit),
    inputOffsets: offsets,
    positions: Int32Array.from({ length: rowsOfUnit }, (_, row) => row),
    positionOffsets: offsets,
    owners: Int32Array.from({ length: SAMPLES }, (_, s) => s),
    batches,
    reduced: false,
    activations: activations.map(({ name, width, dtype }) => ({ name, width, dtype })),
    places: layout.places,
  };
  return { layout, job };
}

async function measure() {
  const shards = Number(process.argv[2] ?? 6);
  const folder = mkdtempSync(join(tmpdir(), "sluice-bench-"));
  const engine = fork(fileURLToPath(import.meta.url), { serialization: "advanced" });
  engine.on("exit", (code) => process.exit(code ? 1 : 0));
  const spool = new Spool(folder);
  const hasher = new Hasher();
  const results = {};
  const ask = async (message) => {
    engine.send(message);
    return (await once(engine, "message"))[0];
  };
  for (const { dtype, given } of CASES) {
    const { layout, job } = jobOf(dtype);
    await ask({ job: { ...job, activations: [] }, given }); // The outputs are made.
    let hashing = Promise.resolve();
    let removing = Promise.resolve();
    const ends = [];
    const engineCpu = { user: 0, system: 0 };
    let hashSeconds = 0;
    const store = async (file) => {
      const started = performance.now();
      await hasher.hash(file, layout.tensors);
      hashSeconds += (performance.now() - started) / 1000;
      // A local run's shard stays; here it goes, beside what follows, before so many lie in the page cache that the system writes them out.
      removing = Promise.all([removing, spool.remove(file)]);
    };
    const before = process.cpuUsage();
    // As the worker's loop: one shard is stored while the next is computed.
    for (let shard = 0; shard < shards; shard++) {
      const file = await spool.create(layout);
      const { user, system } = await ask({ job, spool: file, given });
      engineCpu.user += user;
      engineCpu.system += system;
      await hashing;
      ends.push(performance.now());
      hashing = store(file);
    }
    await hashing;
    await removing;
    const workerCpu = process.cpuUsage(before);
    const gigabytes = (layout.size * shards) / 1e9;
    const seconds = (ends.at(-1) - ends[0]) / 1000;
    results[dtype] = {
      mb_s: (layout.size * (shards - 1)) / 1e6 / seconds,
      engine_cpu_s_per_gb: {
        user: engineCpu.user / 1e6 / gigabytes,
        system: engineCpu.system / 1e6 / gigabytes,
      },
      worker_cpu_s_per_gb: {
        user: workerCpu.user / 1e6 / gigabytes,
        system: workerCpu.system / 1e6 / gigabytes,
      },
      hash_thread_mb_s: (gigabytes * 1000) / hashSeconds,
      alone: measureAlone(join(folder, "alone"), dtype, given),
    };
  }
  await hasher.close();
  rmSync(folder, { recursive: true });
  console.log(JSON.stringify({ bench: "shard-writer", ...describeMachine(), results }));
  engine.disconnect();
}

/** MB/s of each step by itself, on one core: what the whole cannot exceed. */
function measureAlone(path, dtype, given) {
  const outputs = makeOutputs(given).slice(0, 8);
  const encoded = outputs.map((data) => encodeRows(data, given, dtype).data);
  const bytes = encoded.reduce((sum, data) => sum + data.length, 0);
  const rate = (action) => {
    const started = performance.now();
    action();
    return bytes / 1e3 / (performance.now() - started);
  };
  const eachPiece = (use) => {
    const file = openSync(path, "r");
    const buffer = Buffer.allocUnsafeSlow(PIECE);
    for (let n = readSync(file, buffer); n > 0; n = readSync(file, buffer)) use(buffer.subarray(0, n));
    closeSync(file);
  };
  const alone = {
    ...(given !== dtype && {
      cast: rate(() => {
        for (const data of outputs) encodeRows(data, given, dtype);
      }),
    }),
    statistics: rate(() => {
      for (const data of encoded) new Statistics().update(data, dtype, WIDTH);
    }),
    write: rate(() => {
      const file = openSync(path, "w");
      for (const data of encoded) writeSync(file, data);
      closeSync(file);
    }),
    read: rate(() => eachPiece(() => {})),
    sha256: rate(() => {
      const sha = createHash("sha256");
      for (const data of encoded) sha.update(data);
    }),
    crc32c: rate(() => {
      for (const data of encoded) crc32c(data);
    }),
  };
  rmSync(path);
  return alone;
}
