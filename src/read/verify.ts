// The proof that a run holds every sample exactly once: the set of commits against the set of units, each commit's numbers
// against its data, and with `deep` every byte against its checksum.

import { mapAhead } from "../base/read-ahead.js";
import { type Unit, unitName } from "../plan/unit.js";
import type { Commit, NonFiniteEntry, SkippedEntry } from "../run/commit.js";
import { compareDataset, type DatasetDifference } from "../run/compare-dataset.js";
import { mergeNonFinite } from "../run/non-finite.js";
import { PieceBudget } from "../store/read-pieces.js";
import type { ReadableRun } from "./open-run.js";
import { type Problem, verifyUnit } from "./verify-unit.js";

/** Units that are looked at at once: each waits for one or two requests. Of their bytes, a budget says how many are under way. */
const UNITS_AT_ONCE = 32;

/** What `sluice verify --json` prints. */
export interface VerifyReport {
  readonly run: string;
  /** Every unit has a commit whose data is there. */
  readonly complete: boolean;
  /** Records committed, and in the dataset. */
  readonly records: number;
  readonly expected: number;
  readonly samples: number;
  /** Units without a commit, by name. */
  readonly missing: readonly string[];
  /** Samples `record:part` that are there twice. */
  readonly duplicated: readonly string[];
  /** Objects that are damaged, missing or foreign, and how. */
  readonly corrupt: readonly Problem[];
  readonly skipped: readonly SkippedEntry[];
  readonly left_out: readonly SkippedEntry[];
  /** NaN and infinite values by tensor: in how many samples, and the first of them. They are the model's, and no damage. */
  readonly non_finite: Readonly<Record<string, NonFiniteEntry>>;
  readonly shards: number;
  readonly tokens: number;
  readonly bytes: number;
  /** Whether every byte was read. */
  readonly deep: boolean;
  /** Kinds of execution, and how many commits each made. */
  readonly executions: readonly { readonly execution: Commit["execution"]; readonly commits: number }[];
  /** Whether the run says of itself that it is complete (index.json). */
  readonly claims_complete: boolean;
  /** Where the dataset given holds other records than the run was made of; null where none was given. */
  readonly dataset: { readonly path: string; readonly differences: readonly DatasetDifference[] } | null;
}

/** Whether the report is a failure: something is doubled, damaged, of another dataset, or missing of a run that says it is complete. */
export function isBroken(report: VerifyReport): boolean {
  return (
    report.corrupt.length > 0 ||
    report.duplicated.length > 0 ||
    (report.dataset?.differences.length ?? 0) > 0 ||
    (report.claims_complete && !report.complete)
  );
}

/** Verifies a run. */
export async function verifyRun(
  readable: ReadableRun,
  options: {
    readonly deep: boolean;
    /** A dataset to compare the records with. */
    readonly dataset?: string;
    /** Gets the units looked at so far, how many there are, and with `deep` the bytes read. */
    readonly onProgress?: (done: number, units: number, bytes: number) => void;
    /** Gets the bytes of the dataset read so far, and in all. */
    readonly onDataset?: (bytes: number, total: number) => void;
    readonly signal?: AbortSignal;
  },
): Promise<VerifyReport> {
  const { store, run, log } = readable;
  const { dataset: path, onDataset, signal } = options;
  const compared =
    path === undefined
      ? null
      : { path, differences: await compareDataset(path, { store, run, log, onProgress: onDataset, signal }) };
  const missing: string[] = [];
  const corrupt: Problem[] = log
    .foreignNames()
    .map((name) => ({ name, reason: "belongs to no unit of this run" }));
  const duplicated: string[] = [];
  const kinds = new Map<string, { execution: Commit["execution"]; commits: number }>();
  const skipped: SkippedEntry[] = [];
  const leftOut: SkippedEntry[] = [];
  const nonFinite: Record<string, NonFiniteEntry> = {};
  const total = { records: 0, samples: 0, shards: 0, tokens: 0, bytes: 0 };
  let expected = 0;
  let done = 0;
  let bytes = 0;
  const tell = () => options.onProgress?.(done, log.unitTotal, bytes);
  const onBytes = (read: number) => {
    bytes += read;
    tell();
  };
  const deep = options.deep ? { budget: new PieceBudget(), signal, onBytes } : null;
  const look = (unit: Unit) => verifyUnit(readable, unit, deep);
  for await (const { unit, commit, problems, duplicated: twice } of mapAhead(
    log.units(),
    UNITS_AT_ONCE,
    look,
    signal,
  )) {
    done += 1;
    tell();
    expected += unit.to - unit.from;
    corrupt.push(...problems);
    duplicated.push(...twice);
    if (!commit) {
      if (problems.length === 0) missing.push(unitName(unit));
      continue;
    }
    total.records += commit.records[1] - commit.records[0];
    total.samples += commit.samples;
    total.tokens += commit.tokens;
    skipped.push(...commit.skipped);
    leftOut.push(...commit.left_out);
    mergeNonFinite(nonFinite, commit.non_finite);
    const key = JSON.stringify(commit.execution);
    kinds.set(key, { execution: commit.execution, commits: (kinds.get(key)?.commits ?? 0) + 1 });
    if (commit.data === null) continue;
    total.shards += 1;
    total.bytes += commit.size;
  }
  return {
    run: run.run,
    complete: missing.length === 0 && corrupt.length === 0,
    records: total.records,
    expected,
    samples: total.samples,
    missing,
    duplicated,
    corrupt,
    skipped,
    left_out: leftOut,
    non_finite: nonFinite,
    shards: total.shards,
    tokens: total.tokens,
    bytes: total.bytes,
    deep: options.deep,
    executions: [...kinds.values()],
    claims_complete: (await store.head("index.json")) !== null,
    dataset: compared,
  };
}
