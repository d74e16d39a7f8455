// The proof for one unit: its commit, the data that it names, and that the samples in it are the unit's own, each once. Units share
// no record, so that what holds for each of them holds for the run, and nobody has to remember every sample.

import { createHash } from "node:crypto";
import { isSluiceError, messageOf } from "../base/errors.js";
import type { Unit } from "../plan/unit.js";
import type { Commit } from "../run/commit.js";
import { commitName, dataName } from "../run/log.js";
import type { ReadableRun } from "./open-run.js";
import { readInt32, readInt64 } from "./read-tensor.js";

const PIECE_BYTES = 8 << 20;

/** An object that is damaged, missing or foreign, and how. */
export interface Problem {
  readonly name: string;
  readonly reason: string;
}

/** What looking at one unit found. */
export interface UnitFindings {
  readonly unit: Unit;
  /** Null where there is none, or it cannot be read. */
  readonly commit: Commit | null;
  readonly problems: readonly Problem[];
  /** Samples `record:part` that the shard holds twice. */
  readonly duplicated: readonly string[];
}

/** Looks at one unit. @param deep whether every byte of its data is read. @throws SluiceError `store` where it cannot be reached. */
export async function verifyUnit(readable: ReadableRun, unit: Unit, deep: boolean): Promise<UnitFindings> {
  let commit: Commit | null = null;
  try {
    commit = await readable.log.read(unit);
    if (commit === null || commit.data === null) return { unit, commit, problems: [], duplicated: [] };
    const problems = await checkData(readable, commit, deep);
    if (deep && problems.length === 0) problems.push(...(await checkTokens(readable, commit)));
    const samples = problems.length > 0 ? [] : await readSamples(readable, commit);
    const streams = readable.run.identity.dataset.streams.length;
    const isForeign = ({ record }: Sample) => !belongsTo(unit, record, streams);
    const stranger = samples.find(isForeign);
    if (stranger)
      problems.push({
        name: dataName(commit) ?? "",
        reason: `holds a sample of record ${stranger.record}, which is not of its unit`,
      });
    return { unit, commit, problems, duplicated: findRepeated(samples.map((s) => `${s.record}:${s.part}`)) };
  } catch (error) {
    if (!isSluiceError(error, "data")) throw error;
    return { unit, commit, problems: [{ name: commitName(unit), reason: messageOf(error) }], duplicated: [] };
  }
}

async function checkData({ store, log }: ReadableRun, commit: Commit, deep: boolean): Promise<Problem[]> {
  const name = dataName(commit) ?? "";
  const size = log.listedSize(name) ?? (await store.head(name))?.size;
  if (size === undefined) return [{ name, reason: "missing" }];
  if (size !== commit.size) return [{ name, reason: `${size} bytes, ${commit.size} committed` }];
  if (!deep) return [];
  const hash = createHash("sha256");
  for (let start = 0; start < size; start += PIECE_BYTES) {
    hash.update(await store.read(name, { start, end: Math.min(size, start + PIECE_BYTES) }));
  }
  return hash.digest("hex") === commit.sha256
    ? []
    : [{ name, reason: "its SHA-256 is not the committed one" }];
}

/** The tokens in the shard are those that its commit names, and each row is of the token that it says. */
async function checkTokens({ store }: ReadableRun, commit: Commit): Promise<Problem[]> {
  if (commit.tensors.input_ids === undefined) return [];
  const name = dataName(commit) ?? "";
  const ids = await readInt32(store, commit, "input_ids");
  const offsets = await readInt64(store, commit, "input_offsets");
  const hash = createHash("sha256");
  for (let s = 0; s + 1 < offsets.length; s++) {
    const sample = ids.subarray(offsets[s], offsets[s + 1]);
    hash.update(Int32Array.of(sample.length)).update(sample);
  }
  if (hash.digest("hex") !== commit.token_sha256)
    return [{ name, reason: "its token ids are not those that its commit names" }];
  const rowIds = await readInt32(store, commit, "token_ids");
  const places = await readInt32(store, commit, "positions");
  const rowOffsets = await readInt64(store, commit, "sample_offsets");
  for (let s = 0; s + 1 < rowOffsets.length; s++)
    for (let row = rowOffsets[s] ?? 0; row < (rowOffsets[s + 1] ?? 0); row++) {
      const place = places[row] ?? -1;
      if (place >= 0 && rowIds[row] !== ids[(offsets[s] ?? 0) + place])
        return [{ name, reason: `row ${row} is not of the token at its place` }];
    }
  return [];
}

interface Sample {
  /** The record's index in the dataset. */
  readonly record: number;
  readonly part: number;
}

/** The samples of a safetensors shard, by its own index; a pkl.gz shard has no index to read. */
async function readSamples({ store }: ReadableRun, commit: Commit): Promise<Sample[]> {
  if (commit.tensors.sample_ids === undefined) return [];
  const ids = await readInt64(store, commit, "sample_ids");
  const parts = await readInt32(store, commit, "sample_parts");
  return ids.map((record, i) => ({ record, part: parts[i] ?? 0 }));
}

/** Record i of the dataset is record floor(i / S) of stream i mod S. */
function belongsTo(unit: Unit, record: number, streams: number): boolean {
  const inStream = Math.floor(record / streams);
  return record % streams === unit.stream && inStream >= unit.from && inStream < unit.to;
}

function findRepeated(items: readonly string[]): string[] {
  const seen = new Set<string>();
  return items.filter((item) => seen.size === seen.add(item).size);
}
