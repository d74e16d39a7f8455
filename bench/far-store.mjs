// What a bucket costs: extraction into one that takes 200 MB/s (the strict fake of Google's, in a process of its own, behind a
// line that is no faster) beside the same extraction into a folder, in turns. The model computes far less than the line takes.
// The engine leaves one core alone, in both: server and line need it, which would be elsewhere. Linux (CPU time is from /proc).
// node bench/far-store.mjs [--samples 400] [--rounds 1] [--rate MB/s] [--threads N] [--shard-size 64MB] (after npm run build)

import { execFile, fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import { runnerImport } from "vite";
import { openStore } from "../dist/store/stores.js";
import { describeMachine } from "./machine.mjs";

const { values } = parseArgs({
  options: {
    samples: { type: "string", default: "400" },
    rounds: { type: "string", default: "1" },
    rate: { type: "string", default: "200" },
    threads: { type: "string", default: String(Math.max(1, availableParallelism() - 1)) },
    "shard-size": { type: "string", default: "64MB" },
  },
});
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const PROGRAM = here("../dist/cli/sluice.js");
const KEPT_BYTES = 4 << 20;
/** Of the times in /proc, a second. */
const TICKS = 100;
if (process.send) await serve();
else await measure();

/** The store, and the line to it. */
async function serve() {
  const { FakeGcs } = (await runnerImport(here("../test/fake-gcs.ts"))).module;
  const store = await new FakeGcs().start();
  store.keep = KEPT_BYTES;
  const { port } = new URL(store.url);
  let free = 0;
  const line = createServer({ noDelay: true }, async (client) => {
    const server = connect({ port: Number(port), host: "127.0.0.1", noDelay: true });
    for (const socket of [client, server]) socket.on("error", () => {});
    server.pipe(client);
    for await (const piece of client) {
      if (!server.write(piece)) await once(server, "drain");
      const now = performance.now();
      free = Math.max(now, free) + piece.length / (Number(values.rate) * 1000);
      if (free - now > 2) await sleep(free - now);
    }
    server.end();
  });
  line.listen(0, "127.0.0.1", () => process.send(`http://127.0.0.1:${line.address().port}`));
}

async function measure() {
  const folder = mkdtempSync(join(tmpdir(), "sluice-bench-"));
  const child = fork(here("far-store.mjs"), process.argv.slice(2));
  try {
    [process.env.STORAGE_EMULATOR_HOST] = await once(child, "message");
    const streams = join(folder, "streams");
    const split = [
      ...["streams", "--dataset", here("../assets/arc"), "--num-streams", "1"],
      ...["--output-dir", streams],
    ];
    await promisify(execFile)(process.execPath, [PROGRAM, ...split]);
    const runs = { folder: [], bucket: [] };
    for (let round = 0; round < Number(values.rounds); round++) {
      for (const kind of round % 2 === 0 ? ["folder", "bucket"] : ["bucket", "folder"]) {
        const output = kind === "folder" ? join(folder, `run-${round}`) : `gs://bucket/run-${round}`;
        runs[kind].push(await extract(streams, output));
        rmSync(join(folder, `run-${round}`), { recursive: true, force: true });
      }
    }
    const ratio = (of) => Math.min(...runs.bucket.map(of)) / Math.min(...runs.folder.map(of));
    const report = {
      benchmark: "far-store",
      line_mb_s: Number(values.rate),
      threads: Number(values.threads),
      ...runs,
      ratio: ratio((run) => run.seconds),
      /** Without the start and the end, which do not grow with the run. */
      ratio_of_middle: ratio((run) => run.middle),
      ratio_of_cpu: ratio((run) => run.cpu_seconds),
      ...describeMachine(),
    };
    const round = (_, value) => (typeof value === "number" ? Math.round(value * 1000) / 1000 : value);
    console.log(JSON.stringify(report, round, 2));
  } finally {
    child.kill();
    rmSync(folder, { recursive: true });
  }
}

/** One worker, from its start to its end: how long until it computes, until it has computed, and then until it is gone. */
async function extract(streams, output) {
  const before = childrensCpu();
  const started = Date.now();
  const flags = ["--dataset", streams, "--prompt", "arc", "--max-samples", values.samples, "--json"];
  for (const name of ["threads", "shard-size"]) flags.push(`--${name}`, values[name]);
  const { stdout } = await promisify(execFile)(process.execPath, [
    ...[PROGRAM, "extract", "--model", here("../assets/model"), "--max-seq-length", "4096"],
    ...[...flags, "--output", output],
  ]);
  const ended = Date.now();
  const { bytes, shards } = JSON.parse(stdout);
  const store = openStore(output);
  const times = [];
  for (let shard = 1; shard <= shards; shard++) {
    const commit = await store.read(`tpu_0/shard_${String(shard).padStart(4, "0")}.json`);
    const { by } = JSON.parse(Buffer.from(commit).toString());
    times.push({ from: Date.parse(by.started), to: Date.parse(by.started) + 1000 * by.seconds });
  }
  const [from, to] = [times[0].from, times.at(-1).to];
  return {
    seconds: (ended - started) / 1000,
    start: (from - started) / 1000,
    middle: (to - from) / 1000,
    end: (ended - to) / 1000,
    /** Of the worker and its engine. */
    cpu_seconds: childrensCpu() - before,
    shards,
    mb: bytes / 1e6,
  };
}

/** Seconds of CPU of children that have ended, and of theirs. */
function childrensCpu() {
  const fields = readFileSync("/proc/self/stat", "utf8")
    .replace(/^.*\) /, "")
    .split(" ");
  return (Number(fields[13]) + Number(fields[14])) / TICKS;
}
