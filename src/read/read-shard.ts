// Every byte of a shard, read once: its SHA-256 and CRC32Cs, and on the way the index tensors that are asked for.

import { createHash } from "node:crypto";
import type { Commit } from "../run/commit.js";
import { dataName } from "../run/log.js";
import { RangeSums } from "../shard/hash.js";
import { type PieceBudget, readPieces } from "../store/read-pieces.js";
import type { Store } from "../store/store.js";

/** Bytes of tensors, by name. */
export type TensorBytes = ReadonlyMap<string, Uint8Array>;

/** How a shard is read. */
export interface ReadShardOptions {
  readonly budget: PieceBudget;
  readonly signal?: AbortSignal | undefined;
  /** Gets the bytes of each piece. */
  readonly onBytes?: ((bytes: number) => void) | undefined;
}

/**
 * Reads the data of a commit, whose object has the committed size.
 * @param wanted tensors to keep; those that the shard does not have are left out.
 * @returns what is wrong with the bytes, or null; and the tensors.
 */
export async function readShard(
  store: Store,
  commit: Commit,
  wanted: readonly string[],
  { budget, signal, onBytes }: ReadShardOptions,
): Promise<{ readonly problem: string | null; readonly tensors: TensorBytes }> {
  const places = Object.entries(commit.tensors).sort(
    ([, a], [, b]) => a.offset - b.offset || a.length - b.length,
  );
  const tensors = new Map<string, Uint8Array>();
  for (const [name, { length }] of places)
    if (wanted.includes(name)) tensors.set(name, new Uint8Array(length));
  const hash = createHash("sha256");
  const sums = new RangeSums(places.map(([, place]) => place));
  let at = 0;
  const range = { start: 0, end: commit.size };
  for await (const piece of readPieces(store, dataName(commit) ?? "", range, { budget, signal })) {
    hash.update(piece);
    sums.add(piece);
    for (const [name, bytes] of tensors) keepPart(bytes, commit.tensors[name]?.offset ?? 0, piece, at);
    at += piece.length;
    onBytes?.(piece.length);
  }
  const found = sums.finish();
  const broken = places.find(([, place], i) => place.crc32c !== found.tensors[i])?.[0];
  const isWhole = hash.digest("hex") === commit.sha256;
  const isSummed = commit.crc32c === null || commit.crc32c === found.crc32c;
  const checks = [
    isWhole ? "" : "its SHA-256",
    isSummed ? "" : "its CRC32C",
    broken ? `tensor ${broken}` : "",
  ];
  const wrong = checks.filter((what) => what !== "").join(", ");
  const problem = wrong === "" ? null : `not as committed: ${wrong}`;
  return { problem, tensors };
}

/** Copies what a piece, which begins at byte `at` of the object, holds of a tensor that begins at `offset`. */
function keepPart(tensor: Uint8Array, offset: number, piece: Uint8Array, at: number): void {
  const from = Math.max(offset, at);
  const to = Math.min(offset + tensor.length, at + piece.length);
  if (from < to) tensor.set(piece.subarray(from - at, to - at), from - offset);
}
