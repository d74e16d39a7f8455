// What surrounds a worker: its clock, machine, disk, threads, child process and stores. Tests put others in their place, and
// run many whole workers in one process on a virtual clock.

import { hostname } from "node:os";
import { type Clock, realClock } from "../base/clock.js";
import { ownProcess, type ProcessIdentity } from "../base/process-identity.js";
import type { UnitReader } from "../data/samples.js";
import { type DatasetScan, threadedScan } from "../data/scan.js";
import { ThreadedUnitReader, type UnitReaderOptions } from "../data/unit-reader.js";
import type { DownloadOptions } from "../hub/snapshot.js";
import { type FileHasher, Hasher } from "../shard/hash.js";
import { type FileSystem, nodeFileSystem } from "../store/file-system.js";
import type { RetryOptions } from "../store/retry.js";
import type { Store } from "../store/store.js";
import { openStore } from "../store/stores.js";
import { EngineProcess, type LoadRequest, type UnitRunner } from "./engine-process.js";
import type { ExtractOptions } from "./extract-options.js";
import type { SignalSource } from "./preemption.js";
import { planRun, type RunPlan } from "./run-plan.js";

/** Everything outside of a worker that decides what it does. */
export interface Environment {
  readonly clock: Clock;
  readonly host: string;
  /** Where the signals come from that ask it to stop. */
  readonly signals: SignalSource;
  /** The disk of the spool. */
  readonly disk: FileSystem;
  readonly scan: DatasetScan;
  /** Which process it is; null where the system does not tell. */
  process(): ProcessIdentity | null;
  planRun(options: ExtractOptions, download: DownloadOptions): Promise<RunPlan>;
  openStore(uri: string, options: RetryOptions): Store;
  createHasher(): FileHasher;
  createReader(options: UnitReaderOptions): UnitReader;
  createRunner(request: LoadRequest): UnitRunner & { readonly loadSeconds: number };
}

/** This process, on this machine. */
export const realEnvironment: Environment = {
  clock: realClock,
  host: hostname(),
  signals: process,
  disk: nodeFileSystem,
  scan: threadedScan,
  process: ownProcess,
  planRun,
  openStore,
  createHasher: () => new Hasher(),
  createReader: (options) => new ThreadedUnitReader(options),
  createRunner: (request) => new EngineProcess(request),
};
