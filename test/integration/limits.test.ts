// Bounds that hold whatever the machine: memory, and a main thread that is never busy for long. The benchmarks measure them; here
// they are asserted.

import { execFile } from "node:child_process";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { BUNDLED_MODEL, runSluice, temporaryFolder, writeJsonl } from "../helpers.js";

const run = promisify(execFile);
const path = (relative: string) => fileURLToPath(new URL(`../../${relative}`, import.meta.url));

/** The JSON that a benchmark prints. */
async function runBench(script: string, ...args: string[]) {
  const { stdout } = await run(process.execPath, [path(script), ...args]);
  return JSON.parse(stdout.trim().split("\n").at(-1) ?? "").results;
}

it.each(["float32", "bfloat16"])(
  "needs at most 1.1 times the weights in float32 and 1 GiB, of a %s checkpoint",
  async (dtype) => {
    const folder = await temporaryFolder();
    const model = join(folder, "model");
    const flags = ["--shape", "smollm2-135m", "--dtype", dtype, "--output", model];
    await run(process.execPath, [path("tools/make-random-checkpoint.mjs"), ...flags]);
    const lengths = [2048, ...Array.from({ length: 16 }, (_, i) => 20 + 9 * i)];
    const dataset = await writeJsonl(
      join(folder, "d.jsonl"),
      lengths.map((length) => ({ token_ids: Array.from({ length }, (_, i) => (i * 31) % 1000) })),
    );
    const { stdout } = await run(process.execPath, [
      path("bench/peak-memory.mjs"),
      ...["extract", "--model", model, "--dataset", dataset, "--output", join(folder, "run")],
    ]);
    const { peak_bytes: peak, samples } = JSON.parse(stdout);
    expect(samples).toBe(lengths.length);
    const { size } = await stat(join(model, "model.safetensors"));
    const bound = 1.1 * size * (dtype === "float32" ? 1 : 2) + 2 ** 30;
    console.log(`${dtype}: ${(peak / 2 ** 30).toFixed(2)} GiB of at most ${(bound / 2 ** 30).toFixed(2)}`);
    expect(peak).toBeGreaterThan(0.3 * 2 ** 30);
    expect(peak).toBeLessThanOrEqual(bound);
  },
);

/** What `bench/event-loop-delay.mjs` writes. */
interface Delays {
  readonly p99: number;
  /** Without what other processes took. */
  readonly own: { readonly p99: number } | null;
  readonly ticks: number;
}
const LOOP_MS = 50;
/** What a virtual machine's host takes is told to nobody, and nothing makes a loop look quicker than it is: each one's best of some tries counts. */
const TRIES = 3;

async function expectPrompt(measure: () => Promise<readonly Delays[]>): Promise<void> {
  let best: readonly number[] = [Number.POSITIVE_INFINITY];
  for (let tries = 0; tries < TRIES && Math.max(...best) > LOOP_MS; tries++) {
    const all = await measure();
    console.log(JSON.stringify(all));
    for (const { ticks } of all) expect(ticks).toBeGreaterThan(0);
    best = all.map(({ own, p99 }, i) => Math.min(best[i] ?? Number.POSITIVE_INFINITY, own?.p99 ?? p99));
  }
  expect(Math.max(...best), `the latest 1 % of ticks, of each loop: ${best}`).toBeLessThanOrEqual(LOOP_MS);
}

it("never keeps the worker's event loop waiting for 50 ms, making many shards or resuming among them", () =>
  expectPrompt(async () => {
    const { event_loop_delay_ms: delays } = await runBench("bench/resume.mjs", "--shards", "1500");
    return [delays.making, delays.resuming];
  }));

it("never keeps the worker's event loop waiting for 50 ms while a real model computes real prompts", async () => {
  const folder = await temporaryFolder();
  const streams = join(folder, "streams");
  await runSluice(["streams", "--dataset", "arc", "--num-streams", "4", "--output-dir", streams]);
  const file = join(folder, "delays.json");
  const preload = new URL("../../bench/event-loop-delay.mjs", import.meta.url).href;
  let runs = 0;
  await expectPrompt(async () => {
    const ended = await runSluice(
      [
        "extract",
        ...["--model", BUNDLED_MODEL, "--dataset", streams, "--output", join(folder, `run-${runs++}`)],
        ...["--prompt", "arc", "--max-samples", "120", "--samples-per-shard", "6"],
      ],
      { NODE_OPTIONS: `--import ${preload}`, EVENT_LOOP_DELAY_FILE: file },
    );
    expect(ended, ended.stderr).toMatchObject({ code: 0 });
    return [JSON.parse(await readFile(file, "utf8"))];
  });
});
