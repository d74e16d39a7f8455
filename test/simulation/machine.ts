// What surrounds a simulated worker, at the seams that the real one has: its clock, disk, dataset, engine and store. All else
// is the code that ships.

import { createHash } from "node:crypto";
import { crc32c } from "@node-rs/crc32";
import { formatCrc } from "../../src/base/crc.js";
import type { UnitReader } from "../../src/data/samples.js";
import type { Execution, LoadedModel, TapOutput, TokenBatch } from "../../src/engine/engine.js";
import { computeUnit, type UnitJob, type UnitResult } from "../../src/run/compute-unit.js";
import { EngineFailure, type UnitRunner } from "../../src/run/engine-process.js";
import type { Environment } from "../../src/run/environment.js";
import type { FileHash, FileHasher, FileRange } from "../../src/shard/hash.js";
import type { Store } from "../../src/store/store.js";
import type { SimulatedDataset } from "./datasets.js";
import type { MemoryDisk } from "./disk.js";
import type { SimulatedProcess } from "./process.js";

/** A machine's speed, and its temper. */
export interface Engine {
  /** Machines of one kind compute the same bytes. */
  readonly hardware: number;
  /** Milliseconds that a unit takes. */
  readonly unitMs: number;
  /** Asked at each unit: whether it dies while it computes that. */
  readonly dies: () => boolean;
}

/** All of a worker's surroundings. */
export function environmentOf(
  process: SimulatedProcess,
  disk: MemoryDisk,
  dataset: SimulatedDataset,
  engine: Engine,
  store: Store,
): Environment {
  return {
    clock: process.clock,
    host: process.name,
    signals: process.signals,
    disk: disk.open(process),
    scan: {
      sample: async () => {
        await process.wait(20);
        return []; // The run's expected size is of no interest here.
      },
      scan: async () => {
        await process.wait(200);
        return [...dataset.tables];
      },
    },
    process: () => null,
    planRun: async () => {
      await process.wait(50);
      return dataset.plan;
    },
    openStore: () => store,
    createHasher: () => new DiskHasher(process, disk),
    createReader: () => new PreparedReader(process, dataset),
    createRunner: () =>
      new SimulatedRunner(
        process,
        disk,
        engine,
        dataset.plan.taps.map((tap) => tap.name),
      ),
  };
}

class DiskHasher implements FileHasher {
  readonly #process: SimulatedProcess;
  readonly #disk: MemoryDisk;

  constructor(process: SimulatedProcess, disk: MemoryDisk) {
    this.#process = process;
    this.#disk = disk;
  }

  async hash(path: string, ranges: readonly FileRange[]): Promise<FileHash> {
    await this.#process.wait(5);
    const bytes = this.#disk.read(path);
    const sum = (part: Uint8Array) => formatCrc(crc32c(part));
    return {
      size: bytes.length,
      sha256: createHash("sha256").update(bytes).digest("hex"),
      crc32c: sum(bytes),
      tensors: ranges.map(({ offset, length }) => sum(bytes.subarray(offset, offset + length))),
    };
  }

  async close(): Promise<void> {}
}

class PreparedReader implements UnitReader {
  readonly #process: SimulatedProcess;
  readonly #dataset: SimulatedDataset;

  constructor(process: SimulatedProcess, dataset: SimulatedDataset) {
    this.#process = process;
    this.#dataset = dataset;
  }

  async read(unit: { readonly stream: number; readonly index: number }, signal?: AbortSignal) {
    await this.#process.clock.sleep(30, signal);
    const samples = this.#dataset.samples[unit.stream]?.[unit.index];
    if (!samples) throw new RangeError(`no unit ${unit.index} in stream ${unit.stream}`);
    return samples;
  }

  async close(): Promise<void> {}
}

/** An engine's process: it computes for a while, and may die at it. */
class SimulatedRunner implements UnitRunner {
  readonly loadSeconds = 0;
  readonly #process: SimulatedProcess;
  readonly #disk: MemoryDisk;
  readonly #engine: Engine;
  readonly #model: LoadedModel;
  #loaded: Promise<Execution> | undefined;
  #kill: ((error: Error) => void) | undefined;

  constructor(process: SimulatedProcess, disk: MemoryDisk, engine: Engine, taps: readonly string[]) {
    this.#process = process;
    this.#disk = disk;
    this.#engine = engine;
    this.#model = new HashModel(engine.hardware, taps);
  }

  start(): Promise<Execution> {
    this.#loaded ??= this.#process.wait(this.#engine.unitMs / 2).then(() => this.#model.execution);
    return this.#loaded;
  }

  async compute(job: UnitJob, spool: string, onProgress?: (tokens: number) => void): Promise<UnitResult> {
    const dies = this.#engine.dies();
    const seconds = this.#engine.unitMs / 1000;
    const killed = new Promise<never>((_, reject) => {
      this.#kill = reject;
    });
    killed.catch(() => {});
    await Promise.race([this.start(), killed]);
    await Promise.race([this.#process.wait(seconds * 500), killed]);
    let written = 0;
    const write = (bytes: Uint8Array, offset: number) => {
      if (dies && ++written > 1) throw new EngineFailure("the engine's process died: signal SIGSEGV");
      this.#disk.write(spool, bytes, offset);
    };
    const result = await computeUnit(this.#model, job, write, onProgress);
    await Promise.race([this.#process.wait(seconds * 500), killed]);
    if (dies) throw new EngineFailure("the engine's process died: signal SIGSEGV");
    return { ...result, forwardSeconds: seconds, seconds };
  }

  async stop(): Promise<void> {
    this.#kill?.(new EngineFailure("the engine's process died: signal SIGKILL"));
    this.#kill = undefined;
    this.#loaded = undefined;
    await this.#process.wait(1);
  }
}

/** Rows that follow from token, place, tap and hardware alone. */
class HashModel implements LoadedModel {
  readonly execution: Execution;
  readonly #hardware: number;
  readonly #taps: readonly string[];
  readonly #width = 48;

  constructor(hardware: number, taps: readonly string[]) {
    this.#hardware = hardware;
    this.#taps = taps;
    this.execution = { engine: "simulated", hardware };
  }

  async run(batch: TokenBatch): Promise<readonly TapOutput[]> {
    return this.#taps.map((name, tap) => {
      const values = new Float32Array(batch.rows.length * this.#width);
      for (const [r, place] of batch.rows.entries()) {
        const token = batch.tokens[place] ?? 0;
        const position = place % batch.length;
        for (let i = 0; i < this.#width; i++)
          values[r * this.#width + i] = token + position / 64 + tap / 512 + i * (1 + this.#hardware);
      }
      const data = new Uint8Array(values.buffer);
      return { name, rows: batch.rows.length, width: this.#width, dtype: "float32", data };
    });
  }

  async close(): Promise<void> {}
}
