// `sluice quickstart`: the main job in one go on what ships with the project. Four workers, one of them killed and started
// again, and the proof that every sample is there once. Started again after an interruption it goes on; a folder that is not
// its own it leaves alone.

import { readdir, readFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Command } from "commander";
import { type ErrorKind, EXIT_CODES, SluiceError, systemCode } from "../base/errors.js";
import { plural } from "../base/plural.js";
import { streamsFileSchema } from "../data/dataset.js";
import { splitDataset } from "../data/split.js";
import { openRunForReading } from "../read/open-run.js";
import { isBroken, type VerifyReport, verifyRun } from "../read/verify.js";
import { preempted } from "../run/extract.js";
import { Preemption } from "../run/preemption.js";
import { FileStore } from "../store/file.js";
import { makeFolders } from "../store/file-system.js";
import { isTemporaryName } from "../store/temporary.js";
import { formatBar, ProgressLine, paint } from "./render.js";
import { BUNDLED_TASKS } from "./streams.js";
import { describeReport } from "./verify.js";
import { startWorker, type WorkerProcess } from "./worker-process.js";

const WORKERS = 4;
const MODEL = fileURLToPath(new URL("../../assets/model", import.meta.url));
/** Shards that are committed before a worker is killed: all four are in the middle of their streams then. */
const SHARDS_BEFORE_KILL = 6;
const LOOK_EVERY_MS = 200;

/** Adds the command. */
export function registerQuickstart(program: Command): void {
  program
    .command("quickstart")
    .description(
      "the main job on what ships with the project: 4 workers, one killed and resumed, then verify",
    )
    .option("--output <folder>", "where the run goes (default: ./sluice-quickstart)")
    .option("--json", "print the report of verify as JSON")
    .addHelpText(
      "after",
      "\nExample:\n  sluice quickstart --output /tmp/first-run\n\nInterrupted, the same command goes on where it stopped.",
    )
    .action(async (flags: { output?: string; json?: boolean }) => {
      const folder = flags.output ?? "sluice-quickstart";
      const preemption = new Preemption();
      preemption.listen();
      try {
        const say = (text: string) => process[flags.json ? "stderr" : "stdout"].write(`${text}\n`);
        const report = await new Quickstart(folder, say, preemption).run();
        process.stdout.write(flags.json ? `${JSON.stringify(report)}\n` : `${describeReport(report)}\n`);
        if (isBroken(report) || !report.complete) process.exitCode = EXIT_CODES.data;
        else say(suggestNext(join(folder, "run")));
      } catch (error) {
        throw preemption.stopping.aborted ? preempted(preemption) : error;
      } finally {
        preemption.dispose();
      }
    });
}

function suggestNext(run: string): string {
  return [
    "\nTry next:",
    `  npx sluice inspect ${run}`,
    `  npx sluice export ${run} --to npy --layers -1`,
    "  npx sluice extract --model YOUR_MODEL --dataset YOUR.jsonl --output my-run",
  ].join("\n");
}

class Quickstart {
  readonly #folder: string;
  readonly #streams: string;
  readonly #store: FileStore;
  readonly #output: string;
  readonly #say: (text: string) => void;
  readonly #preemption: Preemption;

  constructor(folder: string, say: (text: string) => void, preemption: Preemption) {
    this.#folder = folder;
    this.#streams = join(folder, "streams");
    this.#output = join(folder, "run");
    this.#store = new FileStore(this.#output);
    this.#say = say;
    this.#preemption = preemption;
  }

  async run(): Promise<VerifyReport> {
    const started = performance.now();
    await this.#prepareStreams();
    if ((await this.#store.head("index.json")) !== null) {
      this.#say(`The run in ${this.#output} is complete already. (Remove ${this.#folder} to see it made.)`);
    } else {
      await this.#work();
    }
    const seconds = (performance.now() - started) / 1000;
    this.#say(`${paint("Done", "bold")} in ${seconds.toFixed(1)} s. Verify, reading every byte:`);
    const readable = await openRunForReading(this.#store);
    return verifyRun(readable, { deep: true, signal: this.#preemption.stopping });
  }

  async #prepareStreams(): Promise<void> {
    await makeFolders(this.#folder);
    if (await this.#hasStreams()) return;
    const { records } = await splitDataset({
      dataset: BUNDLED_TASKS,
      streams: WORKERS,
      folder: this.#streams,
      maxSamples: undefined,
      shuffleSeed: undefined,
      signal: this.#preemption.stopping,
    });
    this.#say(`Split the ${records} ARC tasks into ${WORKERS} streams in ${this.#streams}.`);
  }

  /** Whether the streams are there, whole. @throws SluiceError `config` where the folder holds anything that is not ours. */
  async #hasStreams(): Promise<boolean> {
    const refuse = (found: string) =>
      new SluiceError("config", `${this.#streams} is not of a quickstart`, {
        found,
        fix: "Name another --output.",
      });
    const names = await readdir(this.#streams).catch((error: unknown): string[] => {
      if (systemCode(error) === "ENOENT") return [];
      throw systemCode(error) === "ENOTDIR" ? refuse("a file") : error;
    });
    // What another start has under way, or left when it was killed, is made or removed by `splitDataset`.
    const foreign = names.find(
      (name) => !/^stream(_\d{3}\.jsonl|s\.json)$/.test(name) && !isTemporaryName(name),
    );
    if (foreign !== undefined) throw refuse(foreign);
    if (!names.includes("streams.json")) return false;
    const text = await readFile(join(this.#streams, "streams.json"), "utf8");
    const parsed = streamsFileSchema.safeParse(JSON.parse(text));
    if (!parsed.success || parsed.data.num_streams !== WORKERS || parsed.data.dataset !== "tasks.jsonl")
      throw refuse("streams of another dataset");
    return true;
  }

  /** Four workers until the run is complete, one of them killed on the way. */
  async #work(): Promise<void> {
    const threads = Math.max(1, Math.floor(availableParallelism() / WORKERS));
    let state = await this.#look();
    const before = state.committed;
    if (before > 0) this.#say(`Going on with the run in ${this.#output}: ${describeShards(state)}.`);
    this.#say(
      `Four workers (${plural(threads, "thread")} each) extract the residual stream of every layer into ${this.#output}:`,
    );
    const start = (id: number) => this.#start(id, threads);
    const workers = Array.from({ length: WORKERS }, (_, id) => start(id));
    this.#passOnSignals(workers);
    const line = new ProgressLine(
      () => `  ${formatBar(state.committed / Math.max(1, state.total))} ${describeShards(state)}`,
    );
    try {
      const ended = () => workers.every(({ child }) => child.exitCode !== null || child.signalCode !== null);
      let victim: WorkerProcess | undefined = workers[1];
      while (!ended()) {
        await sleep(LOOK_EVERY_MS);
        state = await this.#look();
        if (victim?.child.exitCode !== null || this.#preemption.stopping.aborted) victim = undefined;
        if (!victim || state.committed < before + SHARDS_BEFORE_KILL) continue;
        victim.child.kill("SIGKILL");
        await victim.ended;
        victim = undefined;
        line.print(`  worker 1 was killed (SIGKILL) at ${describeShards(state)}, and is started again`);
        workers[1] = start(1);
      }
    } finally {
      line.stop();
    }
    await this.#report(workers);
  }

  #start(id: number, threads: number): WorkerProcess {
    return startWorker({
      "--model": MODEL,
      "--dataset": this.#streams,
      "--output": this.#output,
      "--worker-id": String(id),
      "--prompt": "arc",
      "--max-seq-length": "4096",
      "--samples-per-shard": "10",
      "--threads": String(threads),
      "--lease-seconds": "5",
    });
  }

  /** How far the run is; nothing of nothing before it exists. */
  async #look(): Promise<RunState> {
    if ((await this.#store.head("run.json")) === null) return { committed: 0, total: 0 };
    const { log } = await openRunForReading(this.#store);
    return { committed: log.committed, total: log.unitTotal };
  }

  /** A signal to this process alone reaches the workers too; a second one, or the end of the grace, ends them at once. */
  #passOnSignals(workers: readonly WorkerProcess[]): void {
    const { stopping, now } = this.#preemption;
    const send = (signal: NodeJS.Signals) => {
      for (const { child } of workers) child.kill(signal);
    };
    stopping.addEventListener("abort", () => send("SIGTERM"), { once: true });
    now.addEventListener("abort", () => send("SIGKILL"), { once: true });
  }

  /** What each worker did. @throws SluiceError of the kind of a worker that failed, where the run is not complete. */
  async #report(workers: readonly WorkerProcess[]): Promise<void> {
    const codes = await Promise.all(workers.map(({ ended }) => ended));
    this.#preemption.stopping.throwIfAborted();
    const state = await this.#look();
    if (state.total > 0 && state.committed === state.total) {
      for (const [id, { lastLine }] of workers.entries()) {
        const end = codes[id] === 0 ? "" : ` (${codes[id] === null ? "killed" : `exit code ${codes[id]}`})`;
        this.#say(`  worker ${id}${end}: ${lastLine()}`);
      }
      return;
    }
    const failed = codes.findIndex((code) => code !== 0);
    const kinds = Object.keys(EXIT_CODES) as ErrorKind[];
    const kind = kinds.find((k) => EXIT_CODES[k] === codes[failed]) ?? "preempted";
    const said = workers[failed]?.lastLine() ?? "";
    throw new SluiceError(
      kind,
      `the workers ended at ${describeShards(state)}. Worker ${failed} said: ${said}`,
      kind === "preempted" ? { fix: "Start the same command again." } : {},
    );
  }
}

interface RunState {
  readonly committed: number;
  readonly total: number;
}

function describeShards({ committed, total }: RunState): string {
  return total === 0 ? "no shards yet" : `${committed} of ${plural(total, "shard")}`;
}
