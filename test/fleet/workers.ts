// A fleet on virtual time that works on one counting store: workers as they ship (`extract` itself), in the surroundings of the simulation. A
// unit takes a time instead of being computed, and so does its upload. For counting what a fleet asks of its store.

import { type ExtractReporter, type ExtractResult, extract } from "../../src/run/extract.js";
import type { Body, Store } from "../../src/store/store.js";
import { Counts } from "../simulation/counts.js";
import { type SimulatedDataset, simulatedDataset } from "../simulation/datasets.js";
import { environmentOf, Host } from "../simulation/machine.js";
import { SimulatedProcess } from "../simulation/process.js";
import { Scheduler } from "../simulation/scheduler.js";
import { CountingStore } from "./counting-store.js";
import { RECORDS_A_SHARD } from "./made-run.js";

/** A fleet's run: streams of equal length, whose records nobody ever reads. */
export async function fleetDataset(streams: number, unitsEach: number): Promise<SimulatedDataset> {
  const { plan, tables, samples } = await simulatedDataset(0);
  const { dataset, identity, options } = plan;
  const [stream] = dataset.streams;
  const [known] = identity.dataset.streams;
  const sha256 = tables[0]?.units[0]?.sha256 ?? "";
  const unit = samples[0]?.[0];
  if (!stream || !known || !unit) throw new Error("the dataset is empty");
  const records = unitsEach * RECORDS_A_SHARD;
  const units = Array.from({ length: unitsEach }, (_, i) => {
    const start = i * RECORDS_A_SHARD;
    return { start, end: start + RECORDS_A_SHARD, records: RECORDS_A_SHARD, sha256 };
  });
  const table = { samplesPerShard: RECORDS_A_SHARD, records, units };
  return {
    plan: {
      ...plan,
      options: { ...options, samplesPerShard: RECORDS_A_SHARD },
      dataset: { ...dataset, streams: Array.from({ length: streams }, () => stream) },
      identity: {
        ...identity,
        dataset: { ...identity.dataset, streams: Array.from({ length: streams }, () => known) },
      },
    },
    tables: Array.from({ length: streams }, () => table),
    samples: Array.from({ length: streams }, () => new Array(unitsEach).fill(unit)),
    units: streams * unitsEach,
    records: streams * records,
  };
}

/** What a worker of the fleet is like. */
export interface FleetWorkerOptions {
  readonly name: string;
  readonly workerId: number;
  /** Milliseconds that a unit takes to compute, and to store. */
  readonly computeMs: number;
  readonly storeMs: number;
  /** Told of every unit that is computed. */
  readonly onCompute?: () => void;
}

/** Events of a whole run: some hundred a unit. */
const MOST_EVENTS = 20_000_000;

/** A store, and those who work on it. */
export class Fleet {
  readonly scheduler = new Scheduler("fleet");
  readonly store: CountingStore;
  readonly #dataset: SimulatedDataset;
  readonly #counts = new Counts();
  #working = 0;
  #failure: unknown;

  /** @param latencyMs of a request. @param atOnce requests that the store answers at the same time, at most. */
  constructor(dataset: SimulatedDataset, latencyMs: number, atOnce = Number.POSITIVE_INFINITY) {
    this.#dataset = dataset;
    const sleep = (ms: number) => new Promise<void>((resolve) => void this.scheduler.plan(ms, resolve));
    this.store = new CountingStore({ clock: { now: () => this.scheduler.now, sleep }, latencyMs, atOnce });
  }

  /** Starts a worker on a computer of its own; `result` is undefined until it has ended. */
  start(options: FleetWorkerOptions): {
    readonly process: SimulatedProcess;
    result: ExtractResult | undefined;
  } {
    const { name, workerId, computeMs, onCompute } = options;
    const process = new SimulatedProcess(name, this.scheduler, "fleet", () => {
      this.#working -= 1;
    });
    const host = new Host(name, this.#counts);
    const dies = () => {
      onCompute?.();
      return false;
    };
    const engine = { hardware: 0, unitMs: computeMs, dies };
    const store = new SlowUploads(this.store, process, host, options.storeMs);
    const environment = environmentOf(process, host, this.#dataset, engine, store);
    const worker: ReturnType<Fleet["start"]> = { process, result: undefined };
    this.#working += 1;
    extract({ ...this.#dataset.plan.options, workerId, leaseSeconds: 60, steal: true }, SILENT, environment)
      .then(
        (result) => {
          worker.result = result;
        },
        (error: unknown) => {
          this.#failure ??= error;
        },
      )
      .finally(() => {
        process.end();
        this.#working -= 1;
      });
    return worker;
  }

  /** Lets time pass until all who live have ended, or somebody says so. @throws what a worker raises. */
  async run(isOver: () => boolean = () => false): Promise<void> {
    await this.scheduler.run(
      () => this.#working === 0 || this.#failure !== undefined || isOver(),
      MOST_EVENTS,
    );
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#working > 0 && !isOver()) throw new Error("everybody waits, and nothing is to come");
  }
}

/** The fleet's store as one process sees it: files lie on its own disk, data take their time, and no answer reaches the dead. */
class SlowUploads implements Store {
  readonly uri: string;
  readonly #store: CountingStore;
  readonly #process: SimulatedProcess;
  readonly #host: Host;
  readonly #uploadMs: number;

  constructor(store: CountingStore, process: SimulatedProcess, host: Host, uploadMs: number) {
    this.uri = store.uri;
    this.#store = store;
    this.#process = process;
    this.#host = host;
    this.#uploadMs = uploadMs;
  }

  async create(name: string, body: Body) {
    if (body instanceof Uint8Array) return this.#answer(this.#store.create(name, body));
    await this.#process.wait(this.#uploadMs);
    return this.#answer(this.#store.create(name, this.#host.disk.read(body.file)));
  }

  replace(name: string, body: Uint8Array) {
    return this.#answer(this.#store.replace(name, body));
  }

  head(name: string) {
    return this.#answer(this.#store.head(name));
  }

  read(name: string, range?: { readonly start: number; readonly end: number }) {
    return this.#answer(this.#store.read(name, range));
  }

  async *list(...where: Parameters<Store["list"]>) {
    for await (const stored of this.#store.list(...where)) yield stored;
    await this.#process.wait(0);
  }

  remove(name: string, version: string) {
    return this.#answer(this.#store.remove(name, version));
  }

  async #answer<T>(reply: Promise<T>): Promise<T> {
    const release = this.#process.hold();
    const result = await reply.finally(release);
    await this.#process.wait(0);
    return result;
  }
}

const SILENT: ExtractReporter = { note() {}, warn() {}, reading() {}, started() {} };
