// A fleet of real processes on one run, and a supervisor that does to them what machines and people do: kills them, stops them and
// lets them go on, asks them to end, starts more of them and fewer; the way to the store fails as well. In the end the union of the
// commits must be the input, each unit once, with the bytes of one undisturbed worker.

import { type ChildProcess, spawn } from "node:child_process";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseJsonBytes } from "../../src/base/parse-json.js";
import { type Random32, randomBelow, randomNumbers } from "../../src/base/random.js";
import type { Commit } from "../../src/run/commit.js";
import { heartbeatSchema } from "../../src/run/heartbeat.js";
import { FileStore } from "../../src/store/file.js";
import { GcsStore } from "../../src/store/gcs.js";
import { S3Store } from "../../src/store/s3.js";
import type { Store } from "../../src/store/store.js";
import { FaultyProxy, type SeenRequest, USUAL_RATES } from "../faulty-proxy.js";
import { startFakeGcsServer } from "../integration/fake-gcs-server.js";
import { BUCKET, startVersitygw } from "../integration/versitygw.js";
import { Gate } from "./gate.js";

/** Compiled or not, it is started in the project's folder. */
const ROOT = process.cwd();
const PROGRAM = join(ROOT, "dist/cli/sluice.js");
const MODEL = join(ROOT, "test/fixtures/models/qwen2-one-kv-head");
/** Ends that a worker may come to: done, store unreachable, pre-empted. */
const GOOD_ENDS = [0, 74, 75];
const POLL_MS = 500;
/**
 * While workers are disturbed, no unit beyond this share is begun: a quick machine must not be done before. What each worker computes and
 * stores at a moment, and what the dead have left finished, comes on top.
 */
const HELD_SHARE = 0.7;
/** Looks without any news after which nothing more is to come: four minutes, longer than a request is tried again and somebody sleeps. */
const LOOKS_WITHOUT_NEWS = 480;

/** Which store, behind which trouble. */
export type StoreKind = "file" | "gcs" | "s3";

/** What the supervisor does. */
export interface SupervisorOptions {
  /** An empty folder. */
  readonly folder: string;
  readonly store: StoreKind;
  readonly seed: number;
  readonly records: number;
  readonly streams: number;
  readonly recordsPerShard: number;
  /**
   * How many workers there are to be, from which share of the commits on. Where nobody is disturbed, no unit beyond that share is
   * begun before all of them run.
   */
  readonly crew: readonly (readonly [share: number, workers: number])[];
  /** Seconds between two disturbances, on average; none: nobody is disturbed. */
  readonly everySeconds?: number;
  /** For how long there are disturbances; then the fleet may finish. */
  readonly seconds: number;
  /** Signals, and kinds of faults of the store, without which it may not yet: on a slow machine little happens in so many seconds. */
  readonly atLeast?: { readonly signals: number; readonly faultKinds: number };
  readonly leaseSeconds: number;
  /** Whether the way to the store fails. */
  readonly isFaulty: boolean;
  readonly say: (line: string) => void;
}

/** What happened. */
export interface SupervisorReport {
  readonly seconds: number;
  readonly units: number;
  readonly records: number;
  readonly signals: Readonly<Record<string, number>>;
  /** Workers by how they ended. */
  readonly ends: Readonly<Record<string, number>>;
  readonly started: number;
  /** Units begun, per unit of the run. */
  readonly waste: number;
  /** By method and kind of object; empty for a folder. */
  readonly requests: Readonly<Record<string, number>>;
  readonly faults: Readonly<Record<string, number>>;
  /** Of all workers and engines together, at most: proportional set size in MB, and how many workers there were. */
  readonly megabytes: number;
  readonly mostWorkers: number;
}

interface Place {
  readonly uri: string;
  readonly env: Readonly<Record<string, string>>;
  /** Past the trouble. */
  readonly store: Store;
  readonly proxy: FaultyProxy | null;
  readonly requests: Record<string, number>;
  stop(): Promise<void>;
}

interface Worker {
  readonly id: number;
  readonly child: ChildProcess;
  readonly ended: Promise<void>;
  isStopped: boolean;
  /** The last that it wrote to stderr. */
  said: string;
}

/** Runs a fleet to the end of its run. @throws Error saying what is wrong with the run, or how a worker ended that must not end so. */
export async function supervise(options: SupervisorOptions): Promise<SupervisorReport> {
  options.say(`seed ${options.seed}`);
  const dataset = await makeDataset(options);
  const reference = join(options.folder, "reference");
  await runOnce(["extract", ...flagsOf(options, dataset, reference)]);
  const place = await openPlace(options);
  try {
    const fleet = new Fleet(options, dataset, place, await Gate.close(options.folder));
    const report = await fleet.run();
    await check(options, place, new FileStore(reference), dataset);
    return report;
  } finally {
    await place.stop();
  }
}

class Fleet {
  readonly #o: SupervisorOptions;
  readonly #dataset: string;
  readonly #place: Place;
  readonly #gate: Gate;
  readonly #random: Random32;
  readonly #workers = new Set<Worker>();
  readonly #signals: Record<string, number> = {};
  readonly #ends: Record<string, number> = {};
  readonly #waking = new Set<Promise<void>>();
  #started = 0;
  #megabytes = 0;
  #mostWorkers = 0;
  #isComplete = false;
  #failure: Error | undefined;

  constructor(options: SupervisorOptions, dataset: string, place: Place, gate: Gate) {
    this.#o = options;
    this.#dataset = dataset;
    this.#place = place;
    this.#gate = gate;
    this.#random = randomNumbers(`supervisor ${options.seed}`);
  }

  async run(): Promise<SupervisorReport> {
    const { seconds, everySeconds, records, recordsPerShard, streams } = this.#o;
    const units = streams * Math.ceil(records / streams / recordsPerShard);
    const started = performance.now();
    const passed = () => (performance.now() - started) / 1000;
    let next = 0;
    let measured = 0;
    let news = "";
    let heard = "";
    let looks = 0;
    try {
      while (!this.#isComplete || this.#workers.size > 0) {
        if (this.#failure) throw this.#failure;
        const isOver = passed() > seconds && this.#hasEnoughHappened();
        if (isOver) this.#place.proxy?.calm();
        if (!this.#isComplete) {
          // Before the commits are counted: what is begun and committed meanwhile must not let others begin as much again.
          const begun = await this.#gate.countBegun();
          const commits = await this.#countCommits();
          await this.#keepCrew(commits / units);
          const share = await this.#shareToReach(commits / units, isOver);
          await this.#openGate(begun, Math.ceil(units * share) - commits, share === 1);
          news = `${begun} units begun, ${commits} of ${units} committed, ${this.#started} workers started`;
        } else await this.#openGate(0, 0, true);
        if (everySeconds !== undefined && !isOver && !this.#isComplete && passed() > next) {
          this.#disturb();
          next = passed() + everySeconds * 2 * this.#share();
        }
        if (passed() > measured + 3) {
          measured = passed();
          this.#megabytes = Math.max(this.#megabytes, await measureMemory([...this.#workers]));
        }
        const last = `${news}; signals ${JSON.stringify(this.#signals)}; ends ${JSON.stringify(this.#ends)}`;
        looks = last === heard ? looks + 1 : 0;
        heard = last;
        if (looks > LOOKS_WITHOUT_NEWS) throw new Error(await this.#describeStandstill(last));
        await sleep(POLL_MS);
      }
      await Promise.all(this.#waking);
    } finally {
      for (const { child } of this.#workers) child.kill("SIGKILL");
      await Promise.all([...this.#workers].map(({ ended }) => ended));
    }
    if (this.#failure) throw this.#failure;
    return {
      seconds: passed(),
      units,
      records,
      signals: this.#signals,
      ends: this.#ends,
      started: this.#started,
      waste: (await this.#gate.countBegun()) / units,
      requests: this.#place.requests,
      faults: Object.fromEntries(this.#place.proxy?.happened ?? []),
      megabytes: this.#megabytes,
      mostWorkers: this.#mostWorkers,
    };
  }

  /** Starts workers that are missing, and kills those that are too many. */
  async #keepCrew(share: number): Promise<void> {
    const wanted = this.#o.crew.findLast(([from]) => share >= from)?.[1] ?? 1;
    const ids = new Set([...this.#workers].map(({ id }) => id));
    for (let id = 0; ids.size < wanted; id++) {
      if (ids.has(id)) continue;
      ids.add(id);
      this.#start(id);
    }
    for (const worker of [...this.#workers]
      .sort((a, b) => b.id - a.id)
      .slice(0, Math.max(0, this.#workers.size - wanted)))
      this.#send(worker, "SIGKILL");
    this.#mostWorkers = Math.max(this.#mostWorkers, this.#workers.size);
  }

  /** Up to which share of the units workers may begin some now. */
  async #shareToReach(share: number, isOver: boolean): Promise<number> {
    const { crew, everySeconds } = this.#o;
    if (everySeconds !== undefined) return isOver ? 1 : HELD_SHARE;
    return (await this.#isCrewRunning()) ? (crew.find(([from]) => from > share)?.[0] ?? 1) : share;
  }

  async #isCrewRunning(): Promise<boolean> {
    const { store } = this.#place;
    const running = new Set<number>();
    for await (const { name } of store.list("workers/")) {
      const { pid } = heartbeatSchema.parse(parseJsonBytes(await store.read(name)));
      running.add(pid);
    }
    return [...this.#workers].every(({ child }) => child.pid !== undefined && running.has(child.pid));
  }

  /**
   * Lets workers begin some units more. In the end there is no limit: somebody who was stopped at the gate while others took his unit
   * over and finished the run would wait there for ever.
   */
  async #openGate(begun: number, more: number, isLast: boolean): Promise<void> {
    await this.#gate.allow(isLast ? Number.POSITIVE_INFINITY : begun + Math.max(0, more));
  }

  #hasEnoughHappened(): boolean {
    const { signals, faultKinds } = this.#o.atLeast ?? { signals: 0, faultKinds: 0 };
    const sent = Object.values(this.#signals).reduce((sum, n) => sum + n, 0);
    return sent >= signals && (this.#place.proxy?.happened.size ?? faultKinds) >= faultKinds;
  }

  /** Who waits for what, when nothing happens any more. */
  async #describeStandstill(news: string): Promise<string> {
    const workers = [...this.#workers].map(
      ({ id, child, isStopped, said }) =>
        `worker ${id} (process ${child.pid}${isStopped ? ", stopped by a signal" : ""}) runs, and has said: ${said.slice(-500)}`,
    );
    const run = this.#isComplete ? "a worker has ended well" : "the run is not complete";
    return [
      `seed ${this.#o.seed}: nothing has happened in ${LOOKS_WITHOUT_NEWS} looks: ${run}; ${news}`,
      `${await this.#gate.allowed()} units may have been begun, ${await this.#gate.countBegun()} were`,
      ...workers,
    ].join("\n");
  }

  #start(id: number): void {
    this.#started += 1;
    const { folder, streams } = this.#o;
    const flags = flagsOf(this.#o, this.#dataset, this.#place.uri);
    const spool = this.#place.proxy ? ["--spool", join(folder, "spool")] : [];
    const child = spawn(
      process.execPath,
      [PROGRAM, "extract", ...flags, ...spool, "--worker-id", String(id % streams)],
      {
        env: {
          ...cleanEnvironment(),
          ...this.#place.env,
          ...this.#gate.env,
          TMPDIR: folder,
        },
        stdio: ["ignore", "ignore", "pipe"],
      },
    );
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      worker.said = (worker.said + text).slice(-4000);
    });
    const ended = new Promise<void>((resolve) =>
      child.on("close", (code, signal) => {
        this.#workers.delete(worker);
        const end = signal ?? `exit ${code}`;
        this.#ends[end] = (this.#ends[end] ?? 0) + 1;
        if (code === 0) this.#isComplete = true;
        if (code !== null && !GOOD_ENDS.includes(code))
          this.#failure ??= new Error(`a worker ended with ${code}: ${worker.said}`);
        if (code === 74) this.#o.say(`worker ${id} ended with 74: ${worker.said.trim().split("\n").at(-1)}`);
        resolve();
      }),
    );
    const worker: Worker = { id, child, ended, isStopped: false, said: "" };
    this.#workers.add(worker);
  }

  /** Kills, stops or asks one worker to end. */
  #disturb(): void {
    const workers = [...this.#workers].filter(({ isStopped }) => !isStopped).sort((a, b) => a.id - b.id);
    const worker = workers[randomBelow(Math.max(1, workers.length), this.#random)];
    const kind = this.#share();
    const pause = 1000 * this.#o.leaseSeconds * 1.5 * this.#share();
    if (!worker) return;
    if (kind < 0.5) this.#send(worker, "SIGKILL");
    else if (kind < 0.75) this.#send(worker, "SIGTERM");
    else {
      worker.isStopped = true;
      this.#send(worker, "SIGSTOP");
      const waking = sleep(pause).then(() => {
        worker.isStopped = false;
        worker.child.kill("SIGCONT");
        this.#waking.delete(waking);
      });
      this.#waking.add(waking);
    }
  }

  #send(worker: Worker, signal: NodeJS.Signals): void {
    if (worker.child.kill(signal)) this.#signals[signal] = (this.#signals[signal] ?? 0) + 1;
  }

  async #countCommits(): Promise<number> {
    let count = 0;
    for await (const { name } of this.#place.store.list("tpu_")) if (COMMIT.test(name)) count += 1;
    return count;
  }

  #share(): number {
    return this.#random() / 2 ** 32;
  }
}

const COMMIT = /^tpu_\d+\/shard_\d+\.json$/;

async function readCommits(store: Store): Promise<Map<string, Commit>> {
  const commits = new Map<string, Commit>();
  for await (const { name } of store.list("tpu_"))
    if (COMMIT.test(name))
      commits.set(name, JSON.parse(Buffer.from(await store.read(name)).toString("utf8")));
  return commits;
}

/** The union of commits is the input, each unit once, and every unit has the bytes that one worker alone gives. */
async function check(
  options: SupervisorOptions,
  { store, uri, env }: Place,
  reference: Store,
  dataset: string,
): Promise<void> {
  const [found, expected] = [await readCommits(store), await readCommits(reference)];
  const wrong: string[] = [];
  let records = 0;
  for (const [name, commit] of expected) {
    const there = found.get(name);
    if (!there) wrong.push(`${name} is missing`);
    else if (there.sha256 !== commit.sha256) wrong.push(`${name} has other bytes`);
    else records += there.records[1] - there.records[0];
  }
  for (const name of found.keys()) if (!expected.has(name)) wrong.push(`${name} is no unit of the run`);
  if (records !== options.records) wrong.push(`${records} records of ${options.records}`);
  for await (const { name } of store.list("tpu_"))
    if (name.includes("/alt/")) wrong.push(`${name} is not one worker's`);
  if (wrong.length > 0) throw new Error(`seed ${options.seed}: ${wrong.slice(0, 10).join("; ")}`);
  const report = JSON.parse(await runOnce(["verify", uri, "--deep", "--json", "--dataset", dataset], env));
  const { complete, missing, duplicated, corrupt } = report;
  if (
    !complete ||
    report.records !== options.records ||
    missing.length + duplicated.length + corrupt.length > 0
  )
    throw new Error(`seed ${options.seed}: verify says ${JSON.stringify(report).slice(0, 1000)}`);
}

async function makeDataset({ folder, records, streams, seed }: SupervisorOptions): Promise<string> {
  await mkdir(folder, { recursive: true });
  const random = randomNumbers(`records ${seed}`);
  const lines = Array.from({ length: records }, (_, i) => {
    const ids = Array.from({ length: 1 + randomBelow(12, random) }, () => randomBelow(199, random));
    return `${JSON.stringify({ id: `r${i}`, token_ids: ids })}\n`;
  });
  const file = join(folder, "data.jsonl");
  await writeFile(file, lines.join(""));
  const dataset = join(folder, "streams");
  await runOnce(["streams", "--dataset", file, "--num-streams", String(streams), "--output-dir", dataset]);
  return dataset;
}

function flagsOf(
  { recordsPerShard, leaseSeconds }: SupervisorOptions,
  dataset: string,
  output: string,
): string[] {
  return Object.entries({
    "--model": MODEL,
    "--dataset": dataset,
    "--output": output,
    "--samples-per-shard": String(recordsPerShard),
    "--threads": "1",
    "--lease-seconds": String(leaseSeconds),
  }).flat();
}

async function openPlace({ store, folder, seed, isFaulty }: SupervisorOptions): Promise<Place> {
  if (store === "file") {
    const uri = join(folder, "run");
    return { uri, env: {}, store: new FileStore(uri), proxy: null, requests: {}, stop: async () => {} };
  }
  const server = store === "gcs" ? await startFakeGcsServer(BUCKET) : await startVersitygw();
  const requests: Record<string, number> = {};
  const onRequest = (request: SeenRequest) => {
    const kind = kindOf(request);
    requests[kind] = (requests[kind] ?? 0) + 1;
  };
  const rates = isFaulty ? USUAL_RATES : {};
  const proxy = await FaultyProxy.start(server.url, { seed: String(seed), rates, onRequest });
  const stop = async () => {
    await proxy.close();
    await server.stop();
  };
  if (store === "gcs") {
    const uri = `gs://${BUCKET}/run`;
    const env = { STORAGE_EMULATOR_HOST: proxy.url };
    return { uri, env, store: new GcsStore(uri, { emulator: server.url }), proxy, requests, stop };
  }
  const uri = `s3://${BUCKET}/run`;
  const direct = "env" in server ? server.env : {};
  Object.assign(process.env, direct);
  const env = { ...direct, AWS_ENDPOINT_URL: proxy.url };
  return { uri, env, store: new S3Store(uri), proxy, requests, stop };
}

/** Such as `PUT commit`, by what a request's path says. */
function kindOf({ method, path }: SeenRequest): string {
  const text = decodeURIComponent(decodeURIComponent(path.replace(/%(?![0-9A-Fa-f]{2})/g, "%25")));
  const isListing =
    method === "GET" && /[?&](list-type|prefix|maxResults)=/.test(text) && !/alt=media/.test(text);
  const what = isListing
    ? "list"
    : /shard_\d+\.json/.test(text)
      ? "commit"
      : /\.safetensors/.test(text)
        ? "data"
        : (/(leases|workers|units|model|checkpoints|run\.json|index\.json|metadata\.json)/.exec(text)?.[1] ??
          "other");
  return `${method} ${what}`;
}

/** Proportional set size of workers and their engines: pages that several share count once. */
async function measureMemory(workers: readonly Worker[]): Promise<number> {
  let kilobytes = 0;
  for (const { child } of workers) {
    const children = await readFile(`/proc/${child.pid}/task/${child.pid}/children`, "utf8").catch(() => "");
    for (const pid of [child.pid, ...children.split(" ").filter(Boolean)]) {
      const rollup = await readFile(`/proc/${pid}/smaps_rollup`, "utf8").catch(() => "");
      kilobytes += Number(/^Pss:\s+(\d+)/m.exec(rollup)?.[1] ?? 0);
    }
  }
  return Math.round(kilobytes / 1000);
}

function cleanEnvironment(): Record<string, string> {
  const { PATH = "", HOME = "" } = process.env;
  return { PATH, HOME };
}

/** Runs `sluice` to its end. @returns what it printed. @throws Error where it fails. */
async function runOnce(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<string> {
  const child = spawn(process.execPath, [PROGRAM, ...args], {
    env: { ...cleanEnvironment(), ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const text = { stdout: "", stderr: "" };
  for (const stream of ["stdout", "stderr"] as const)
    child[stream].setEncoding("utf8").on("data", (part: string) => {
      text[stream] += part;
    });
  const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
  if (code !== 0)
    throw new Error(`sluice ${args[0]} ended with ${code}: ${text.stderr || text.stdout.slice(0, 1000)}`);
  return text.stdout;
}
