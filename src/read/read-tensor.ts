// One tensor of one shard: a range of the data object, checked against the checksum in the commit. A run may come from a stranger whose
// checksums hold: what an index tensor says is checked before anything is counted or cut by it.

import { crc32c } from "@node-rs/crc32";
import { formatCrc } from "../base/crc.js";
import type { DType } from "../base/dtype.js";
import { isSluiceError, SluiceError } from "../base/errors.js";
import { mapAhead } from "../base/read-ahead.js";
import type { Commit } from "../run/commit.js";
import { dataName } from "../run/log.js";
import { PIECE_BYTES } from "../store/read-pieces.js";
import type { Store } from "../store/store.js";

/** 64 MB at most. */
const PIECES_AT_ONCE = 16;

/**
 * The bytes of a tensor, little-endian, row-major.
 * @throws SluiceError `data` where the shard has no such tensor, or its bytes are not the committed ones.
 */
export async function readTensor(store: Store, commit: Commit, name: string): Promise<Uint8Array> {
  const { object, offset, length, crc32c: expected } = placeOf(commit, name);
  const bytes = await readRange(store, object, { start: offset, end: offset + length });
  const sum = formatCrc(crc32c(bytes));
  if (sum === expected) return bytes;
  throw corrupt(store, object, name, sum, expected);
}

/** Bytes of a tensor that is read in pieces. */
export interface TensorPiece {
  readonly bytes: Uint8Array;
  /** Which of the commits, and from which byte of its tensor. */
  readonly commit: number;
  readonly at: number;
}

/**
 * One tensor of many shards, one after the other, in pieces: several are read at once, however large or small the tensors are. Each has at
 * least one piece. Its checksum is known after its last one.
 * @throws as {@link readTensor}; the signal's reason.
 */
export async function* readTensorOfEach(
  store: Store,
  commits: readonly Commit[],
  name: string,
  signal?: AbortSignal,
): AsyncGenerator<TensorPiece> {
  function* pieces() {
    for (const [commit, entry] of commits.entries()) {
      const place = placeOf(entry, name);
      for (let at = 0; at === 0 || at < place.length; at += PIECE_BYTES) yield { ...place, commit, at };
    }
  }
  const read = async (piece: ReturnType<typeof pieces> extends Generator<infer P> ? P : never) => {
    const [start, end] = [piece.offset + piece.at, piece.offset + piece.length];
    const range = { start, end: Math.min(end, start + PIECE_BYTES) };
    return {
      ...piece,
      bytes: start === end ? new Uint8Array() : await readRange(store, piece.object, range),
    };
  };
  let running = 0;
  for await (const { bytes, commit, at, length, object, crc32c: expected } of mapAhead(
    pieces(),
    PIECES_AT_ONCE,
    read,
    signal,
  )) {
    running = crc32c(bytes, at === 0 ? 0 : running);
    yield { bytes, commit, at };
    const sum = formatCrc(running);
    if (at + bytes.length === length && sum !== expected) throw corrupt(store, object, name, sum, expected);
  }
}

/** A range of a shard, which may be missing or cut off: then with what to do. */
async function readRange(
  store: Store,
  object: string,
  range: { readonly start: number; readonly end: number },
): Promise<Uint8Array> {
  return store.read(object, range).catch((error: unknown) => {
    if (!isSluiceError(error, "data")) throw error;
    throw new SluiceError("data", error.message, {
      fix: "Restore the shard from a copy; or remove what is left of it, and extract makes it again.",
      values: { ...error.details.values, name: object },
      cause: error,
    });
  });
}

/** An int64 tensor as numbers. @throws as {@link readTensor}, and where it has another dtype. */
export async function readInt64(store: Store, commit: Commit, name: string): Promise<number[]> {
  return toInt64(commit, name, await readTensor(store, commit, name));
}

/** An int32 tensor. @throws as {@link readInt64}. */
export async function readInt32(store: Store, commit: Commit, name: string): Promise<Int32Array> {
  return toInt32(commit, name, await readTensor(store, commit, name));
}

/** {@link toOffsets} of a tensor that is read. */
export async function readOffsets(store: Store, commit: Commit, name: string, of: string): Promise<number[]> {
  return toOffsets(commit, name, of, await readTensor(store, commit, name));
}

/** A tensor's bytes as int64 numbers. @throws SluiceError `data` where its commit says that it has another dtype. */
export function toInt64(commit: Commit, name: string, bytes: Uint8Array): number[] {
  checkDType(commit, name, "int64");
  return Array.from(new BigInt64Array(bytes.slice().buffer), Number);
}

/** A tensor's bytes as int32 numbers. @throws SluiceError `data` where its commit says that it has another dtype. */
export function toInt32(commit: Commit, name: string, bytes: Uint8Array): Int32Array {
  checkDType(commit, name, "int32");
  return new Int32Array(bytes.slice().buffer);
}

/**
 * A tensor's bytes as where each sample begins in another one: samples + 1 entries, from 0 to its length, never descending.
 * @throws SluiceError `data` where they are not.
 */
export function toOffsets(commit: Commit, name: string, of: string, bytes: Uint8Array): number[] {
  const offsets = toInt64(commit, name, bytes);
  const end = commit.tensors[of]?.shape[0] ?? 0;
  const isAscending = offsets.every((offset, i) => offset >= (offsets[i - 1] ?? 0));
  if (offsets.length === commit.samples + 1 && isAscending && offsets[0] === 0 && offsets.at(-1) === end)
    return offsets;
  throw new SluiceError("data", `${name} of ${dataName(commit)} does not divide ${of}`, {
    found: offsets.length === commit.samples + 1 ? undefined : `${offsets.length} entries`,
    expected: `${commit.samples + 1} ascending numbers from 0 to ${end}`,
  });
}

function checkDType(commit: Commit, name: string, dtype: DType): void {
  const found = commit.tensors[name]?.dtype;
  if (found === dtype) return;
  throw new SluiceError("data", `${name} of ${dataName(commit)} has another dtype than runs give it`, {
    found: found ?? "no such tensor",
    expected: dtype,
  });
}

/** Where a tensor lies in its shard's object. @throws SluiceError `data` where the shard has none of that name. */
export function placeOf(commit: Commit, name: string) {
  const place = commit.tensors[name];
  const object = dataName(commit);
  if (place && object !== null) return { object, ...place };
  throw new SluiceError("data", `shard ${commit.unit + 1} of stream ${commit.stream} has no tensor ${name}`, {
    expected: Object.keys(commit.tensors).join(", ") || "a safetensors shard",
  });
}

function corrupt(store: Store, object: string, name: string, sum: string, expected: string): SluiceError {
  return new SluiceError("data", `tensor ${name} of ${store.uri}/${object} is corrupt`, {
    found: `CRC32C ${sum}`,
    expected,
    fix: "Restore the shard from a copy, or remove it: extract makes it again.",
    values: { name: object, tensor: name },
  });
}
