// What a bucket costs: extraction into one that takes 200 MB/s (the strict fake of Google's, in a process of its own, behind a
// line that is no faster) beside the same extraction into a folder, in turns. The model computes far less than the line takes.
// node bench/far-store.mjs [samples] [rounds] [MB/s] (after npm run build)

import { execFile, fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { runnerImport } from "vite";
import { describeMachine } from "./machine.mjs";

const [samples = "120", rounds = "3", rate = "200"] = process.argv.slice(2);
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const PROGRAM = here("../dist/cli/sluice.js");
if (process.send) await serve();
else await measure();

/** The store, and the line to it. */
async function serve() {
  const { FakeGcs } = (await runnerImport(here("../test/fake-gcs.ts"))).module;
  const store = await new FakeGcs().start();
  const { port } = new URL(store.url);
  let free = 0;
  const line = createServer(async (client) => {
    const server = connect(Number(port), "127.0.0.1");
    for (const socket of [client, server]) socket.on("error", () => {});
    server.pipe(client);
    for await (const piece of client) {
      if (!server.write(piece)) await once(server, "drain");
      const now = performance.now();
      free = Math.max(now, free) + piece.length / (Number(rate) * 1000);
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
    const [url] = await once(child, "message");
    const streams = join(folder, "streams");
    const split = [
      "streams",
      "--dataset",
      here("../assets/arc"),
      "--num-streams",
      "1",
      "--output-dir",
      streams,
    ];
    await promisify(execFile)(process.execPath, [PROGRAM, ...split]);
    const times = { folder: [], bucket: [] };
    let bytes = 0;
    for (let round = 0; round < Number(rounds); round++) {
      for (const kind of round % 2 === 0 ? ["folder", "bucket"] : ["bucket", "folder"]) {
        const output = kind === "folder" ? join(folder, `run-${round}`) : `gs://bucket/run-${round}`;
        const started = performance.now();
        const result = await extract(streams, output, url);
        times[kind].push((performance.now() - started) / 1000);
        bytes = result.bytes;
      }
    }
    const best = { folder: Math.min(...times.folder), bucket: Math.min(...times.bucket) };
    const report = {
      benchmark: "far-store",
      line_mb_s: Number(rate),
      shards_mb: Math.round(bytes / 1e6),
      folder_s: times.folder,
      bucket_s: times.bucket,
      ratio_of_best: best.bucket / best.folder,
      ...describeMachine(),
    };
    console.log(
      JSON.stringify(
        report,
        (_, value) => (typeof value === "number" ? Math.round(value * 1000) / 1000 : value),
        2,
      ),
    );
  } finally {
    child.kill();
    rmSync(folder, { recursive: true });
  }
}

/** One worker, from its start to its end. */
async function extract(streams, output, url) {
  const flags = ["--dataset", streams, "--prompt", "arc", "--max-samples", samples, "--shard-size", "64MB"];
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [
      PROGRAM,
      "extract",
      "--model",
      here("../assets/model"),
      ...flags,
      "--max-seq-length",
      "4096",
      "--output",
      output,
      "--json",
    ],
    { env: { ...process.env, STORAGE_EMULATOR_HOST: url } },
  );
  return JSON.parse(stdout);
}
