// `npm run simulate`: many seeds, over several processes; what failed, and how to see it again; what happened, counted.

import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { Counts } from "./counts.js";
import { runSeed } from "./run-seed.js";

const HELP = `npm run simulate -- [--seeds N] [--seed S] [--jobs J] [--trace]
  --seeds N   so many seeds (default 1000)
  --seed S    from this seed on (default 0); alone: this seed only
  --jobs J    in so many processes (default 1)
  --trace     print the history`;
/** Seeds that a process gets at a time. */
const BLOCK = 50;
/** Blocks of a process: simulated workers that died in mid-await are never quite forgotten (2 GB after 18,000 seeds). */
const BLOCKS_PER_PROCESS = 40;
const MOST_FAILURES = 20;
const TELL_EVERY_MS = 30_000;

/** A block of seeds, done. Plain data: it crosses a process boundary. */
interface BlockResult {
  readonly seeds: number;
  readonly events: number;
  readonly hours: number;
  readonly failures: readonly (readonly [seed: string, failure: string])[];
  readonly counts: readonly (readonly [string, number])[];
}

async function runBlock(first: number, seeds: number, isTraced = false): Promise<BlockResult> {
  const counts = new Counts();
  const failures: [string, string][] = [];
  let events = 0;
  let hours = 0;
  for (let seed = first; seed < first + seeds; seed++) {
    const result = await runSeed(String(seed), isTraced ? { onLine: (line) => console.log(line) } : {});
    if (isTraced) console.log(`history ${result.historyHash}`);
    events += result.events;
    hours += result.hours;
    counts.merge(result.counts.values);
    if (result.failure !== undefined) failures.push([result.seed, result.failure]);
  }
  return { seeds, events, hours, failures, counts: [...counts.values] };
}

/** Sums blocks up, and tells now and then. */
class Summary {
  readonly counts = new Counts();
  readonly #started = performance.now();
  #toldAt = performance.now();
  seeds = 0;
  failures = 0;
  #events = 0;
  #hours = 0;

  add(block: BlockResult): void {
    this.seeds += block.seeds;
    this.failures += block.failures.length;
    this.#events += block.events;
    this.#hours += block.hours;
    this.counts.merge(block.counts);
    for (const [seed, failure] of block.failures)
      console.log(`seed ${seed} failed: ${failure}\n  again: npm run simulate -- --seed ${seed} --trace`);
    if (performance.now() - this.#toldAt < TELL_EVERY_MS) return;
    this.#toldAt = performance.now();
    console.log(this.line());
  }

  line(): string {
    const seconds = (performance.now() - this.#started) / 1000;
    const rate = (this.seeds / seconds).toFixed(1);
    const events = this.#events.toLocaleString("en");
    return `${this.seeds} seeds in ${seconds.toFixed(0)} s (${rate} a second): ${events} events, ${this.#hours.toFixed(0)} hours of virtual time, ${this.failures} failed`;
  }
}

async function runJobs(first: number, seeds: number, jobs: number, summary: Summary): Promise<void> {
  let next = first;
  const isOver = () => next >= first + seeds || summary.failures >= MOST_FAILURES;
  const work = (child: ChildProcess) =>
    new Promise<void>((resolve, reject) => {
      let blocks = 0;
      const hand = () => {
        if (isOver() || blocks++ === BLOCKS_PER_PROCESS) return void child.disconnect();
        const count = Math.min(BLOCK, first + seeds - next);
        child.send([next, count]);
        next += count;
      };
      child.on("message", (block: BlockResult) => {
        summary.add(block);
        hand();
      });
      child.on("error", reject);
      child.on("exit", (code) =>
        code === 0 ? resolve() : reject(new Error(`a process ended with ${code}`)),
      );
      hand();
    });
  const script = fileURLToPath(import.meta.url);
  const job = async () => {
    while (!isOver()) await work(fork(script, ["--child"]));
  };
  await Promise.all(Array.from({ length: jobs }, job));
}

async function main(): Promise<void> {
  const text = { type: "string" } as const;
  const { values } = parseArgs({
    options: { seeds: text, seed: text, jobs: text, trace: { type: "boolean" }, help: { type: "boolean" } },
  });
  if (values.help) return console.log(HELP);
  const first = Number(values.seed ?? 0);
  const seeds = Number(values.seeds ?? (values.seed === undefined ? 1000 : 1));
  const jobs = Number(values.jobs ?? 1);
  if (![first, seeds, jobs].every(Number.isSafeInteger)) throw new Error(HELP);
  const summary = new Summary();
  if (jobs > 1) await runJobs(first, seeds, jobs, summary);
  else
    for (let at = first; at < first + seeds && summary.failures < MOST_FAILURES; at += BLOCK)
      summary.add(await runBlock(at, Math.min(BLOCK, first + seeds - at), values.trace));
  console.log(summary.counts.table());
  const missing = summary.counts.missing();
  if (seeds >= 1000 && missing.length > 0) console.log(`never happened: ${missing.join(", ")}`);
  console.log(summary.line());
  process.exitCode = summary.failures > 0 ? 1 : 0;
}

if (process.argv[2] === "--child" && process.send)
  process.on("message", ([first, seeds]: [number, number]) => {
    void runBlock(first, seeds).then((block) => process.send?.(block));
  });
else await main();
