// The proof for one unit: its commit, the data that it names, and that the samples in it are the unit's own, each once. Units share
// no record, so that what holds for each of them holds for the run, and nobody has to remember every sample.

import { createHash } from "node:crypto";
import { isSluiceError, messageOf } from "../base/errors.js";
import type { Unit } from "../plan/unit.js";
import type { Commit } from "../run/commit.js";
import { commitName, dataName } from "../run/log.js";
import { isRemote } from "../store/store.js";
import type { ReadableRun } from "./open-run.js";
import { type ReadShardOptions, readShard, type TensorBytes } from "./read-shard.js";
import { readTensor, toInt32, toInt64, toOffsets } from "./read-tensor.js";

/** Whose samples a shard's rows are, and what the model read. */
const SAMPLES = ["sample_ids", "sample_parts"];
const TOKENS = ["input_ids", "input_offsets", "token_ids", "positions", "sample_offsets"];

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

/**
 * Looks at one unit.
 * @param deep how every byte of its data is read, once; null where they are not: then what the store itself says of the object's
 *   checksum is taken for it, and where it says nothing the index of samples is read.
 * @throws SluiceError `store` where it cannot be reached.
 */
export async function verifyUnit(
  readable: ReadableRun,
  unit: Unit,
  deep: ReadShardOptions | null,
): Promise<UnitFindings> {
  let commit: Commit | null = null;
  try {
    commit = await readable.log.read(unit);
    if (commit === null || commit.data === null) return { unit, commit, problems: [], duplicated: [] };
    const name = dataName(commit) ?? "";
    const fail = (reason: string): UnitFindings => ({
      unit,
      commit,
      problems: [{ name, reason }],
      duplicated: [],
    });
    const { problem, tensors } = await checkData(readable, commit, name, deep);
    if (problem !== null) return fail(problem);
    const wrongToken = deep ? findWrongToken(commit, tensors) : null;
    if (wrongToken !== null) return fail(wrongToken);
    const samples = samplesOf(commit, tensors);
    const streams = readable.run.identity.dataset.streams.length;
    const stranger = samples.find(({ record }) => !belongsTo(unit, record, streams));
    const problems = stranger
      ? [{ name, reason: `holds a sample of record ${stranger.record}, which is not of its unit` }]
      : [];
    return { unit, commit, problems, duplicated: findRepeated(samples.map((s) => `${s.record}:${s.part}`)) };
  } catch (error) {
    if (!isSluiceError(error, "data")) throw error;
    return { unit, commit, problems: [{ name: commitName(unit), reason: messageOf(error) }], duplicated: [] };
  }
}

/** What is wrong with the data object; and of its index what was read. */
async function checkData(
  { store, log }: ReadableRun,
  commit: Commit,
  name: string,
  deep: ReadShardOptions | null,
): Promise<{ readonly problem: string | null; readonly tensors: TensorBytes }> {
  const fail = (problem: string) => ({ problem, tensors: new Map() });
  const listed = { size: log.listedSize(name), crc32c: log.listedCrc(name) };
  // Of a folder the listing says all there is; where it says no checksum, other stores may know one.
  const isEnough =
    deep !== null || !isRemote(store) || listed.crc32c !== undefined || listed.size !== commit.size;
  const { size = undefined, crc32c } =
    isEnough && listed.size !== undefined ? listed : ((await store.head(name)) ?? {});
  if (size === undefined) return fail("missing");
  if (size !== commit.size) return fail(`${size} bytes, ${commit.size} committed`);
  if (deep) return readShard(store, commit, [...SAMPLES, ...TOKENS], deep);
  if (crc32c !== undefined && commit.crc32c !== null)
    return crc32c === commit.crc32c
      ? { problem: null, tensors: new Map() }
      : fail(`CRC32C ${crc32c} by what the store says, ${commit.crc32c} committed`);
  const names = SAMPLES.filter((tensor) => commit.tensors[tensor] !== undefined);
  const read = async (tensor: string) => [tensor, await readTensor(store, commit, tensor)] as const;
  return { problem: null, tensors: new Map(await Promise.all(names.map(read))) };
}

/** The tokens in the shard are those that its commit names, and each row is of the token that it says; otherwise what is wrong. */
function findWrongToken(commit: Commit, tensors: TensorBytes): string | null {
  const bytes = (name: string) => tensors.get(name) ?? new Uint8Array();
  if (!tensors.has("input_ids")) return null;
  const ids = toInt32(commit, "input_ids", bytes("input_ids"));
  const offsets = toOffsets(commit, "input_offsets", "input_ids", bytes("input_offsets"));
  const hash = createHash("sha256");
  for (let s = 0; s + 1 < offsets.length; s++) {
    const sample = ids.subarray(offsets[s], offsets[s + 1]);
    hash.update(Int32Array.of(sample.length)).update(sample);
  }
  if (hash.digest("hex") !== commit.token_sha256) return "its token ids are not those that its commit names";
  const rowIds = toInt32(commit, "token_ids", bytes("token_ids"));
  const places = toInt32(commit, "positions", bytes("positions"));
  const rowOffsets = toOffsets(commit, "sample_offsets", "token_ids", bytes("sample_offsets"));
  for (let s = 0; s + 1 < rowOffsets.length; s++)
    for (let row = rowOffsets[s] ?? 0; row < (rowOffsets[s + 1] ?? 0); row++) {
      const place = places[row] ?? -1;
      if (place >= 0 && rowIds[row] !== ids[(offsets[s] ?? 0) + place])
        return `row ${row} is not of the token at its place`;
    }
  return null;
}

interface Sample {
  /** The record's index in the dataset. */
  readonly record: number;
  readonly part: number;
}

/** The samples of a safetensors shard, by its own index; none where it was not read, or there is none (pkl.gz). */
function samplesOf(commit: Commit, tensors: TensorBytes): Sample[] {
  const [ids, parts] = SAMPLES.map((name) => tensors.get(name));
  if (!ids || !parts) return [];
  const numbers = toInt32(commit, "sample_parts", parts);
  return toInt64(commit, "sample_ids", ids).map((record, i) => ({ record, part: numbers[i] ?? 0 }));
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
