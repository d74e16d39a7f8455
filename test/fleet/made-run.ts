// Runs that nobody has computed, for tests of what is asked of the store: a run.json, commits, and data of a few bytes.

import { type Unit, unitName } from "../../src/plan/unit.js";
import type { Commit } from "../../src/run/commit.js";
import { encodeRunFile, type Identity, type RunFile, runId } from "../../src/run/identity.js";

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

/** The commit of a unit whose data are {@link dataOf}. */
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
