// Workers without a model: the loop, claims, leases, log, heartbeat and derived files are those that ship; a unit takes a time
// instead of being computed, and its data is a few bytes. For counting what a fleet asks of its store.

import type { Clock } from "../../src/base/clock.js";
import type { ProcessIdentity } from "../../src/base/process-identity.js";
import type { UnitReader, UnitSamples } from "../../src/data/samples.js";
import { type Unit, unitName } from "../../src/plan/unit.js";
import { Claims } from "../../src/run/claims.js";
import type { Commit } from "../../src/run/commit.js";
import { completeRun } from "../../src/run/complete-run.js";
import { DerivedFiles } from "../../src/run/derived-files.js";
import type { UnitRunner } from "../../src/run/engine-process.js";
import { Heartbeat } from "../../src/run/heartbeat.js";
import { encodeRunFile, type Identity, type RunFile, runId } from "../../src/run/identity.js";
import { Leases } from "../../src/run/leases.js";
import { CommitLog } from "../../src/run/log.js";
import { paceOf } from "../../src/run/pace.js";
import { Preemption } from "../../src/run/preemption.js";
import { Progress } from "../../src/run/progress.js";
import type { ShardWriter } from "../../src/run/shard-writer.js";
import { runWorker } from "../../src/run/worker.js";
import type { Store } from "../../src/store/store.js";

const HASH = "0".repeat(64);
export const RECORDS_A_SHARD = 4;

/** A run of streams of equal length, and its run.json. */
export function makeRun(
  streams: number,
  unitsEach: number,
): { readonly run: RunFile; readonly bytes: Uint8Array } {
  const records = unitsEach * RECORDS_A_SHARD;
  const identity: Identity = {
    format: "sluice-run-1",
    model: { family: "qwen2", revision: null, config: {}, weights_sha256: HASH },
    tokenizer: { sha256: null, special_ids: [], bos_id: null, eos_ids: [], bos: "tokenizer" },
    dataset: {
      name: "d",
      max_samples: null,
      records: streams * records,
      streams: Array.from({ length: streams }, () => ({ records, bytes: 1, sha256: HASH })),
    },
    prompt: {
      kind: "text",
      column: "text",
      keep_columns: [],
      template_sha256: null,
      augment: 1,
      max_seq_length: 2048,
      too_long: "cut",
      stride: null,
      max_parts: null,
      context_size: null,
      attend_across: false,
      drop_short: false,
    },
    taps: ["blocks.0.hook_resid_post"],
    positions: "all",
    skip_special: false,
    dtype: "bfloat16",
    compute_dtype: "float32",
    shard_format: "safetensors",
    samples_per_shard: RECORDS_A_SHARD,
    shard_bytes: null,
    max_skipped: "half",
    seed: 42,
  };
  return { run: { run: runId(identity), identity, record: {} }, bytes: encodeRunFile(identity, {}) };
}

/** The commit of a unit whose data is as {@link FleetWorker} makes it. */
export function commitOf(run: RunFile, unit: Unit, attempt: string, worker = "w"): Commit {
  return {
    format: "sluice-commit-1",
    run: run.run,
    stream: unit.stream,
    unit: unit.index,
    data: `${unitName(unit).replace(/^.*\//, "")}.safetensors`,
    size: dataOf(unit).length,
    sha256: HASH,
    crc32c: "00000000",
    records: [unit.from, unit.to],
    samples: unit.to - unit.from,
    rows: 10,
    tokens: 10,
    tokens_computed: 10,
    unit_sha256: HASH,
    token_sha256: HASH,
    skipped: [],
    left_out: [],
    tensors: {},
    statistics: {},
    execution: { engine: "none" },
    by: { attempt, worker, worker_id: 0, started: "", finished: "" },
  };
}

export function dataOf(unit: Unit): Uint8Array {
  return Buffer.from(`data of ${unitName(unit)}`);
}

/** What a worker of the fleet is like. */
export interface FleetWorkerOptions {
  readonly store: Store;
  readonly run: RunFile;
  readonly runFile: Uint8Array;
  readonly clock: Clock;
  readonly uuid: string;
  readonly workerId: number;
  readonly leaseSeconds: number;
  /** Milliseconds that a unit takes to compute, and to store. */
  readonly computeMs: number;
  readonly storeMs: number;
  readonly process?: ProcessIdentity | null;
  /** Told of every unit that is computed. */
  readonly onCompute?: (unit: Unit) => void;
}

/** Works until the run is complete, as `extract` does from the run's opening on. @returns the shards that it made. */
export async function workInFleet(options: FleetWorkerOptions): Promise<number> {
  const { run, runFile, clock, uuid, workerId, leaseSeconds, process = null } = options;
  const { store } = options;
  const pace = paceOf(store, leaseSeconds);
  const preemption = new Preemption(clock);
  const progress = new Progress(() => {}, clock);
  const leases = new Leases(store, {
    worker: uuid,
    process,
    leaseSeconds: pace.silenceSeconds,
    readsPerLook: pace.readsPerLook,
    clock,
  });
  const state = { uuid, worker_id: workerId, host: "h", pid: 1, process, started: "", message: null };
  const heartbeat = new Heartbeat(
    store,
    uuid,
    () => ({
      ...state,
      status: progress.isComplete ? "complete" : "running",
      unit: progress.unit,
      shards: progress.shards,
      samples: 0,
      tokens: 0,
      tokens_computed: 0,
      bytes: 0,
      seconds: progress.seconds,
    }),
    clock,
  );
  await heartbeat.start(pace.beatMs);
  const log = new CommitLog(store, run, runFile);
  await log.refresh();
  const repair = log.findMissingNames(".safetensors");
  const claims = new Claims(log, leases, { uuid, stream: workerId, steal: true, repair, clock });
  const derived = new DerivedFiles({
    store,
    run,
    log,
    workerId,
    datasetPath: "",
    modelPath: "",
    checkpointDir: undefined,
  });
  const indexBefore = (await store.head("index.json"))?.version ?? null;
  const write = () => void derived.write("running", progress.takeStreams()).catch(() => {});
  let endWriting = clock.after(pace.firstDerivedMs * ((workerId * 0.618) % 1), () => {
    write();
    endWriting = clock.every(pace.derivedMs, write);
  });
  const shards = {
    spool: async (unit: Unit) => {
      options.onCompute?.(unit);
      await clock.sleep(options.computeMs);
      return unit;
    },
    store: async (unit: Unit, _samples: UnitSamples, _spooled: unknown, { attempt }: { attempt: string }) => {
      await clock.sleep(options.storeMs);
      await store.create(`${unitName(unit)}.safetensors`, dataOf(unit));
      const commit = commitOf(run, unit, attempt, uuid);
      return (await log.commit(unit, commit)) === "committed" ? commit : null;
    },
    dropAll: async () => {},
  } as unknown as ShardWriter;
  const reader: UnitReader = { read: async () => NO_SAMPLES, close: async () => {} };
  const runner: UnitRunner = {
    start: async () => ({}),
    compute: () => Promise.reject(new Error("nothing is computed")),
    stop: async () => {},
  };
  const { pollMs } = pace;
  await runWorker({ claims, leases, reader, runner, shards, preemption, progress, pollMs, clock });
  endWriting();
  await completeRun({
    store,
    log,
    leases,
    derived,
    progress,
    indexBefore,
    pollMs,
    clock,
    signal: preemption.stopping,
  });
  await leases.releaseAll();
  await heartbeat.stop();
  return progress.shards;
}

const NO_SAMPLES: UnitSamples = {
  count: RECORDS_A_SHARD,
  records: new BigInt64Array(RECORDS_A_SHARD),
  parts: new Int32Array(RECORDS_A_SHARD),
  inputIds: new Int32Array(10),
  inputOffsets: new Int32Array(RECORDS_A_SHARD + 1),
  inputFlags: new Uint8Array(10),
  segmentOffsets: new Int32Array(2),
  positions: new Int32Array(10),
  positionOffsets: new Int32Array(RECORDS_A_SHARD + 1),
  infos: [],
  previews: [],
  skipped: [],
  leftOut: [],
  unitSha256: HASH,
  tokenSha256: HASH,
};
