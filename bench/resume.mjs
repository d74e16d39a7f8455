// How long a resumed worker takes to its first new commit in a run of many shards, beyond loading the model; and how late its event
// loop is meanwhile. node bench/resume.mjs [--shards 10000] (after npm run build; making the run takes a minute)

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { describeMachine } from "./machine.mjs";

const { values } = parseArgs({ options: { shards: { type: "string", default: "10000" } } });
const shards = Number(values.shards);
const folder = mkdtempSync(join(tmpdir(), "sluice-bench-"));
const dataset = join(folder, "d.jsonl");
const run = join(folder, "run");
const lines = Array.from({ length: shards }, (_, i) => `{"token_ids":[${1 + (i % 190)},5]}\n`);
writeFileSync(dataset, lines.join(""));

async function extract(watched) {
  const model = fileURLToPath(new URL("../test/fixtures/models/qwen2-one-kv-head", import.meta.url));
  const flags = [
    "--model",
    model,
    "--dataset",
    dataset,
    "--output",
    run,
    "--samples-per-shard",
    "1",
    "--threads",
    "1",
  ];
  const delays = join(folder, "delays.json");
  const preload = new URL("./event-loop-delay.mjs", import.meta.url).href;
  const started = performance.now();
  const child = spawn(
    process.execPath,
    [
      "--import",
      preload,
      fileURLToPath(new URL("../dist/cli/sluice.js", import.meta.url)),
      "extract",
      ...flags,
      "--json",
    ],
    { stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, EVENT_LOOP_DELAY_FILE: delays } },
  );
  let out = "";
  child.stdout.on("data", (text) => {
    out += text;
  });
  const ended = new Promise((resolve) => child.on("close", resolve));
  let first;
  while (watched && first === undefined && child.exitCode === null) {
    if (existsSync(join(run, watched))) first = (performance.now() - started) / 1000;
    else await sleep(5);
  }
  await ended;
  return {
    wall: (performance.now() - started) / 1000,
    first,
    ...JSON.parse(out),
    event_loop_delay_ms: JSON.parse(readFileSync(delays, "utf8")),
  };
}

const whole = await extract();
const lost = `tpu_0/shard_${String(Math.floor(shards / 2)).padStart(4, "0")}.json`;
rmSync(join(run, lost));
const resumed = await extract(lost);
rmSync(folder, { recursive: true });
console.log(
  JSON.stringify({
    bench: "resume",
    ...describeMachine(),
    results: {
      shards,
      shards_per_second: shards / whole.wall,
      seconds_to_first_commit: resumed.first,
      load_seconds: resumed.load_seconds,
      seconds_beyond_load: resumed.first - resumed.load_seconds,
      seconds_in_all: resumed.wall,
      event_loop_delay_ms: { making: whole.event_loop_delay_ms, resuming: resumed.event_loop_delay_ms },
    },
  }),
);
