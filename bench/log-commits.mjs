// Commits per second of the log on a local disk, every one durable, beside the least that a durable create-only file takes there
// (write, fsync, link, fsync of the folder, unlink), from 1 and 4 processes. node bench/log-commits.mjs [--folder DIR] [--commits 500]
// (after npm run build; the folder's disk is what is measured)

import { fork } from "node:child_process";
import {
  closeSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { encodeCommit } from "../dist/run/commit.js";
import { CommitLog } from "../dist/run/log.js";
import { FileStore } from "../dist/store/file.js";
import { describeMachine } from "./machine.mjs";

const { values } = parseArgs({
  options: {
    folder: { type: "string", default: tmpdir() },
    commits: { type: "string", default: "500" },
    child: { type: "string" },
    stream: { type: "string" },
  },
});
const commits = Number(values.commits);
const STREAMS = 4;
const RUN = {
  run: "0".repeat(64),
  identity: { samples_per_shard: 1, dataset: { streams: Array(STREAMS).fill({ records: commits }) } },
};
const RUN_FILE = Buffer.from(JSON.stringify(RUN));

/** A commit as a run of 24 layers makes it: about 10 kB. */
function commitOf(unit) {
  const hash = "0123456789abcdef".repeat(4);
  const layers = Array.from({ length: 24 }, (_, layer) => `blocks.${layer}.hook_resid_post`);
  const place = {
    dtype: "bfloat16",
    shape: [40_000, 896],
    offset: 71_680_000,
    length: 71_680_000,
    crc32c: "01234567",
  };
  const numbers = {
    count: 35_840_000,
    rows: 40_000,
    mean: 0.0123456789,
    variance: 12.3456789,
    mean_norm: 98.7654321,
  };
  return {
    format: "sluice-commit-1",
    run: RUN.run,
    stream: unit.stream,
    unit: unit.index,
    data: `shard_${String(unit.index + 1).padStart(4, "0")}.safetensors`,
    size: 1_720_320_000,
    sha256: hash,
    crc32c: "01234567",
    records: [unit.from, unit.to],
    samples: 1,
    rows: 40_000,
    tokens: 40_000,
    tokens_computed: 41_000,
    unit_sha256: hash,
    token_sha256: hash,
    skipped: [],
    left_out: [],
    tensors: Object.fromEntries(layers.map((name) => [name, place])),
    statistics: Object.fromEntries(
      layers.map((name) => [name, { ...numbers, max_abs: 123.4, nan: 0, inf: 0, overflow: 0 }]),
    ),
    execution: { engine: "onnx", version: "1.0.0" },
    by: {
      attempt: hash,
      worker: hash,
      worker_id: 0,
      started: new Date().toISOString(),
      finished: new Date().toISOString(),
    },
  };
}

async function commitAll(folder, stream) {
  const store = new FileStore(folder);
  const log = new CommitLog(store, RUN, RUN_FILE);
  for (const unit of log.unitsOf(stream)) {
    if ((await log.commit(unit, commitOf(unit))) !== "committed") throw new Error("a commit was lost");
  }
}

/** The same bytes under the same names, with nothing around the system calls that durable create-only takes. */
function linkAll(folder, stream) {
  const target = join(folder, `tpu_${stream}`);
  mkdirSync(target, { recursive: true });
  const handle = openSync(target, "r");
  for (let index = 0; index < commits; index++) {
    const temporary = join(folder, `tmp-${stream}`);
    const file = openSync(temporary, "wx");
    writeSync(file, encodeCommit(commitOf({ stream, index, from: index, to: index + 1 })));
    fsyncSync(file);
    closeSync(file);
    linkSync(temporary, join(target, `shard_${String(index + 1).padStart(4, "0")}.json`));
    fsyncSync(handle);
    unlinkSync(temporary);
  }
  closeSync(handle);
}

/** Commits per second of so many processes, their start not counted. */
async function measure(kind, processes) {
  const folder = mkdtempSync(join(values.folder, "sluice-bench-"));
  await new FileStore(folder).create("run.json", RUN_FILE);
  const children = Array.from({ length: processes }, (_, stream) =>
    fork(fileURLToPath(import.meta.url), [
      "--child",
      kind,
      "--folder",
      folder,
      "--commits",
      values.commits,
      "--stream",
      `${stream}`,
    ]),
  );
  await Promise.all(children.map((child) => new Promise((resolve) => child.once("message", resolve))));
  const started = performance.now();
  const done = children.map(
    (child) =>
      new Promise((resolve, reject) => {
        child.once("exit", (code) =>
          code === 0 ? resolve() : reject(new Error(`${kind} ended with ${code}`)),
        );
        child.send("go");
      }),
  );
  await Promise.all(done);
  const seconds = (performance.now() - started) / 1000;
  rmSync(folder, { recursive: true });
  return (processes * commits) / seconds;
}

if (values.child) {
  process.once("message", async () => {
    await (values.child === "log" ? commitAll : linkAll)(values.folder, Number(values.stream));
    process.exit(0);
  });
  process.send("ready");
} else {
  const results = { commit_bytes: encodeCommit(commitOf({ stream: 0, index: 0, from: 0, to: 1 })).length };
  for (const processes of [1, STREAMS]) {
    const plain = await measure("link", processes);
    const log = await measure("log", processes);
    results[`processes_${processes}`] = { commits_s: log, plain_links_s: plain, ratio: log / plain };
  }
  console.log(JSON.stringify({ bench: "log-commits", ...describeMachine(), results }));
}
