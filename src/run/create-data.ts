// The data object of a unit. Its name may be taken by an earlier attempt or another worker: the same data is fine; other
// data (other hardware) makes this attempt's go under a name that holds its hash. Nothing is ever overwritten or deleted.

import { createHash } from "node:crypto";
import { pipeline } from "node:stream/promises";
import { crc32c } from "@node-rs/crc32";
import { formatCrc } from "../base/crc.js";
import { SluiceError, systemCode } from "../base/errors.js";
import { type Unit, unitName } from "../plan/unit.js";
import type { Compression } from "../shard/format.js";
import type { FileHash } from "../shard/hash.js";
import { checkStored } from "../store/check-stored.js";
import { PieceBudget, readPieces } from "../store/read-pieces.js";
import type { Store } from "../store/store.js";
import type { Commit } from "./commit.js";
import { dataName } from "./log.js";

/** How often a name is tried that is taken, and free when one looks. */
const CREATE_ATTEMPTS = 5;
/** Pieces of 4 MiB that are read ahead of the hash, where what is there is looked at. */
const PIECES_AHEAD = 4;
/** Bytes of a compressed object that hold its comment. */
const COMMENT_BYTES = 4096;

/** A unit's data, complete in a local file. */
export interface FinishedData {
  readonly file: string;
  readonly hash: FileHash;
  /** The file name's ending. */
  readonly extension: string;
  /** For a compressed file: what is in it, and the comment that says so. */
  readonly compressed?: {
    readonly compression: Compression;
    readonly comment: string;
    /** SHA-256 before compression. */
    readonly sha256: string;
  };
}

/** The object that holds a unit's data. */
export interface CreatedData {
  /** Relative to the commit's folder: `shard_0001.safetensors`, or one below `alt/`. */
  readonly name: string;
  /** Of the bytes that are there: for a compressed format not always those of the local file. */
  readonly hash: FileHash;
}

/**
 * Creates the unit's data object from a complete local file, and checks what the store says of it.
 * @param committed the unit's commit where its data has gone missing: only those very bytes may take its name.
 * @param signal ends the upload.
 * @throws SluiceError `data` where the bytes are not the committed ones; `store` where the store kept something else; the signal's reason.
 */
export async function createData(
  store: Store,
  unit: Unit,
  data: FinishedData,
  committed: Commit | null,
  signal?: AbortSignal,
): Promise<CreatedData> {
  const { hash, extension } = data;
  const base = unitName(unit);
  const folder = `tpu_${unit.stream}/`;
  if (committed) {
    const name = dataName(committed);
    if (name === null || committed.sha256 !== hash.sha256) {
      throw new SluiceError(
        "data",
        `the data of ${store.uri}/${base}.json is missing, and this machine makes other bytes`,
        {
          found: `SHA-256 ${hash.sha256.slice(0, 16)}`,
          expected: `${committed.sha256?.slice(0, 16)} as committed`,
          fix: `Restore ${name} from a copy, or remove the commit: extract computes the unit again.`,
          values: { name },
        },
      );
    }
    if (await createSame(store, name, data, signal)) return { name: name.slice(folder.length), hash };
    throw new SluiceError("data", `${store.uri}/${name} holds other bytes than its commit says`, {
      expected: `SHA-256 ${hash.sha256.slice(0, 16)} as committed`,
      fix: "Restore it from a copy, or remove it: extract makes it again.",
      values: { name },
    });
  }
  const shard = base.slice(folder.length);
  const alternative = `alt/${shard}-${hash.sha256.slice(0, 8)}${extension}`;
  for (const name of [`${shard}${extension}`, alternative]) {
    const there = await createSame(store, folder + name, data, signal);
    if (there) return { name, hash: there };
  }
  throw new SluiceError("data", `${store.uri}/${folder}${alternative} holds other bytes than its name says`, {
    fix: "Restore it from a copy, or remove it.",
    values: { name: folder + alternative },
  });
}

/**
 * Creates the object. @returns the hash of what it holds now, where that is the file's data, whoever put it there.
 * @throws SluiceError `store` where what has the name is removed each time before it can be read.
 */
async function createSame(
  store: Store,
  name: string,
  data: FinishedData,
  signal?: AbortSignal,
): Promise<FileHash | undefined> {
  for (let attempt = 1; attempt <= CREATE_ATTEMPTS; attempt++) {
    const { file, hash } = data;
    const body = { file, size: hash.size, crc32c: hash.crc32c };
    const stored = await store.create(name, body, signal ? { signal } : {});
    if (stored !== "exists") {
      checkStored(stored, hash, `${store.uri}/${name}`);
      return hash;
    }
    const there = await compareStored(store, name, data, signal).catch(async (error: unknown) => {
      if ((await store.head(name)) !== null) throw error;
      return "gone" as const;
    });
    if (there === "other") return undefined;
    if (there !== "gone") return there;
    // As when gc takes an orphan away while this worker sleeps: the name is free again.
  }
  throw new SluiceError("store", `${store.uri}/${name} is removed as often as it is there`, {
    found: `${CREATE_ATTEMPTS} times`,
    fix: "Something removes objects from the store (a lifecycle rule, a gc in a loop): stop it, and start again.",
  });
}

/** What the object holds: its hash where that is the file's data, 'other' where it is something else, 'gone' where there is none. */
async function compareStored(
  store: Store,
  name: string,
  data: FinishedData,
  signal: AbortSignal | undefined,
): Promise<FileHash | "other" | "gone"> {
  const { hash, compressed } = data;
  const size = (await store.head(name))?.size;
  if (size === undefined) return "gone";
  if (size === hash.size && (await hashStored(store, name, size, signal)) === hash.sha256) return hash;
  return (compressed && (await hashEquivalent(store, name, size, compressed, signal))) ?? "other";
}

/** The SHA-256 of an object, read in pieces. */
async function hashStored(
  store: Store,
  name: string,
  size: number,
  signal: AbortSignal | undefined,
): Promise<string> {
  const hash = createHash("sha256");
  for await (const piece of readWhole(store, name, size, signal)) hash.update(piece);
  return hash.digest("hex");
}

/**
 * The hash of an object that holds the file's data in other bytes, as another version of the compressor makes them; undefined
 * where it does not. Its comment only spares reading what is not meant to be the same: a comment can lie, so the object is
 * expanded and its content hashed, and the commit then carries the hash of the bytes that are there.
 */
async function hashEquivalent(
  store: Store,
  name: string,
  size: number,
  { compression, comment, sha256 }: NonNullable<FinishedData["compressed"]>,
  signal: AbortSignal | undefined,
): Promise<FileHash | undefined> {
  const start = await store.read(name, { start: 0, end: Math.min(size, COMMENT_BYTES) });
  if (compression.readComment(start) !== comment) return undefined;
  const outside = createHash("sha256");
  const inside = createHash("sha256");
  let sum = 0;
  async function* pieces() {
    for await (const piece of readWhole(store, name, size, signal)) {
      outside.update(piece);
      sum = crc32c(piece, sum);
      yield piece;
    }
  }
  try {
    await pipeline(pieces, compression.expand(), async (content: AsyncIterable<Uint8Array>) => {
      for await (const piece of content) inside.update(piece);
    });
  } catch (error) {
    if (systemCode(error)?.startsWith("Z_")) return undefined; // Torn, or edited.
    throw error;
  }
  if (inside.digest("hex") !== sha256) return undefined;
  return { size, sha256: outside.digest("hex"), crc32c: formatCrc(sum), tensors: [] };
}

function readWhole(store: Store, name: string, size: number, signal: AbortSignal | undefined) {
  return readPieces(store, name, { start: 0, end: size }, { budget: new PieceBudget(PIECES_AHEAD), signal });
}
