// `sluice quickstart`: the main job in one go on what ships with the project. Four workers, one of them killed and started
// again, and the proof that every sample is there once.

import { type ChildProcess, spawn } from "node:child_process";
import { mkdir, rm, stat } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join, relative } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Command } from "commander";
import { entryPoint } from "../base/entry.js";
import { EXIT_CODES, SluiceError } from "../base/errors.js";
import { formatBytes } from "../base/format-bytes.js";
import { splitDataset } from "../data/split.js";
import { openRunForReading } from "../read/open-run.js";
import { isBroken, verifyRun } from "../read/verify.js";
import { FileStore } from "../store/file.js";
import { formatCount, paint } from "./render.js";
import { BUNDLED_TASKS } from "./streams.js";
import { describeReport } from "./verify.js";

const WORKERS = 4;
const MODEL = fileURLToPath(new URL("../../assets/model", import.meta.url));

/** Adds the command. */
export function registerQuickstart(program: Command): void {
  program
    .command("quickstart")
    .description(
      "the main job on what ships with the project: 4 workers, one killed and resumed, then verify",
    )
    .option("--output <folder>", "where the run goes (default: ./sluice-quickstart)")
    .option("--json", "print the report of verify as JSON")
    .addHelpText("after", "\nExample:\n  sluice quickstart --output /tmp/first-run")
    .action(async (flags: { output?: string; json?: boolean }) => {
      const folder = flags.output ?? "sluice-quickstart";
      const say = (text: string) => process[flags.json ? "stderr" : "stdout"].write(`${text}\n`);
      const report = await runQuickstart(folder, say);
      process.stdout.write(flags.json ? `${JSON.stringify(report)}\n` : `${describeReport(report)}\n`);
      const run = join(folder, "run");
      say(
        `\nTry next:\n  npx sluice inspect ${run}\n  npx sluice export ${run} --to npy --layers -1\n  npx sluice extract --model YOUR_MODEL --dataset YOUR.jsonl --output my-run`,
      );
      if (isBroken(report) || !report.complete) process.exitCode = EXIT_CODES.data;
    });
}

async function runQuickstart(folder: string, say: (text: string) => void) {
  const started = performance.now();
  const streams = join(folder, "streams");
  const output = join(folder, "run");
  if (await stat(join(output, "index.json")).catch(() => null)) {
    say(`${output} is there already and complete; remove ${folder} to start afresh`);
  }
  await mkdir(folder, { recursive: true });
  if (!(await stat(join(streams, "streams.json")).catch(() => null))) {
    await rm(streams, { recursive: true, force: true });
    const split = await splitDataset({
      dataset: BUNDLED_TASKS,
      streams: WORKERS,
      folder: streams,
      maxSamples: undefined,
      shuffleSeed: undefined,
    });
    say(`Split the ${split.records} ARC tasks into ${WORKERS} streams.`);
  }
  const threads = Math.max(1, Math.floor(availableParallelism() / WORKERS));
  const start = (id: number) => startWorker(id, threads, streams, output);
  say(
    `Four workers extract the residual stream of every layer, ${threads} thread(s) each, into ${relative(".", output) || "."}:`,
  );
  const workers = Array.from({ length: WORKERS }, (_, id) => start(id));
  const victim = await waitForWork(output, workers[1]);
  if (victim) {
    victim.child.kill("SIGKILL");
    await victim.ended;
    say(`  worker 1 was killed (SIGKILL) after ${victim.shards} shards were committed, and is started again`);
    workers[1] = start(1);
  }
  for (const [id, worker] of workers.entries()) {
    const code = await worker.ended;
    if (code !== 0)
      throw new SluiceError("bug", `worker ${id} ended with exit code ${code}`, {
        found: worker.output().trim(),
      });
    say(`  worker ${id}: ${worker.output().trim().split("\n").at(-1)}`);
  }
  const readable = await openRunForReading(new FileStore(output));
  const report = await verifyRun(readable, { deep: true });
  const seconds = (performance.now() - started) / 1000;
  say(
    `${paint("Done", "bold")} in ${seconds.toFixed(1)} s: ${formatCount(report.tokens / seconds)} tokens/s, ${formatBytes(report.bytes)} of activations. Verify, reading every byte:`,
  );
  return report;
}

interface WorkerProcess {
  readonly child: ChildProcess;
  readonly ended: Promise<number | null>;
  readonly output: () => string;
}

function startWorker(id: number, threads: number, dataset: string, output: string): WorkerProcess {
  const flags = {
    "--model": MODEL,
    "--dataset": dataset,
    "--output": output,
    "--worker-id": String(id),
    "--prompt": "arc",
    "--max-seq-length": "4096",
    "--samples-per-shard": "10",
    "--threads": String(threads),
    "--lease-seconds": "5",
  };
  const program = fileURLToPath(entryPoint(import.meta.url, "./sluice.js"));
  const child = spawn(process.execPath, [program, "extract", ...Object.entries(flags).flat()], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, NO_COLOR: "1" },
  });
  let text = "";
  for (const stream of [child.stderr, child.stdout])
    stream?.setEncoding("utf8").on("data", (part: string) => {
      text = (text + part).slice(-10_000);
    });
  const ended = new Promise<number | null>((resolve) => child.on("close", resolve));
  return { child, ended, output: () => text };
}

/** Waits until shards are being committed and the worker is in the middle of its stream; null where it ended before. */
async function waitForWork(
  output: string,
  worker: WorkerProcess | undefined,
): Promise<(WorkerProcess & { shards: number }) | null> {
  const store = new FileStore(output);
  while (worker && worker.child.exitCode === null) {
    let shards = 0;
    for await (const { name } of store.list("tpu_")) if (/shard_\d+\.json$/.test(name)) shards += 1;
    if (shards >= 6) return { ...worker, shards };
    await sleep(100);
  }
  return null;
}
