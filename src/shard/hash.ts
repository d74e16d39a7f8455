// Checksums of a finished file in one sequential pass, in a thread of its own: native code does the arithmetic, and the
// worker's main thread is free for its heartbeat.

import { createHash } from "node:crypto";
import { readSync } from "node:fs";
import { open } from "node:fs/promises";
import { setImmediate } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { crc32c } from "@node-rs/crc32";
import { combineCrcs, formatCrc } from "../base/crc.js";
import { endThread } from "../base/end-thread.js";
import { entryPoint } from "../base/entry.js";
import { flattenError, type PlainError, reviveError } from "../base/error-transfer.js";

/** What is read at once: it stays in the processor's own cache while it is hashed and summed. */
const PIECE_BYTES = 256 << 10;
/** Pieces between two looks at what else is asked: the first thing that a worker hashes may be gigabytes of weights. */
const PIECES_A_TURN = 64;

/** A range of a file, in bytes. */
export interface FileRange {
  readonly offset: number;
  readonly length: number;
}

/** What a pass over a file gives. CRC32Cs as eight hexadecimal digits. */
export interface FileHash {
  readonly size: number;
  readonly sha256: string;
  readonly crc32c: string;
  /** Of each range asked for, in their order. */
  readonly tensors: readonly string[];
}

/**
 * Hashes a file, with reads that block: for the thread. Reading ahead is the system's business.
 * @param ranges ascending and not overlapping. @param onProgress gets the bytes read so far.
 */
export async function hashFile(
  path: string,
  ranges: readonly FileRange[],
  onProgress?: (bytes: number) => void,
): Promise<FileHash> {
  const sha = createHash("sha256");
  const sums = new RangeSums(ranges);
  const buffer = Buffer.allocUnsafeSlow(PIECE_BYTES);
  let size = 0;
  const file = await open(path, "r");
  try {
    for (let turn = 1; ; turn++) {
      const bytes = readSync(file.fd, buffer, 0, PIECE_BYTES, size);
      if (bytes === 0) break;
      const piece = buffer.subarray(0, bytes);
      sha.update(piece);
      sums.add(piece);
      size += bytes;
      if (turn % PIECES_A_TURN !== 0) continue;
      onProgress?.(size);
      await setImmediate();
    }
  } finally {
    await file.close();
  }
  return { size, sha256: sha.digest("hex"), ...sums.finish() };
}

/** The CRC32C of each range and of the whole, every byte summed once. Ranges are ascending and do not overlap. */
export class RangeSums {
  readonly #ranges: readonly FileRange[];
  readonly #sums: number[];
  #whole = 0;
  #at = 0;
  /** The range that is next, or under way. */
  #range = 0;

  constructor(ranges: readonly FileRange[]) {
    this.#ranges = ranges;
    this.#sums = ranges.map(() => 0);
  }

  add(piece: Uint8Array): void {
    for (let done = 0; done < piece.length; ) {
      const range = this.#ranges[this.#range];
      const isInside = range !== undefined && this.#at >= range.offset;
      const border =
        range === undefined ? Number.POSITIVE_INFINITY : range.offset + (isInside ? range.length : 0);
      const part = piece.subarray(done, done + Math.min(piece.length - done, border - this.#at));
      if (isInside) this.#sums[this.#range] = crc32c(part, this.#sums[this.#range]);
      else this.#whole = crc32c(part, this.#whole);
      done += part.length;
      this.#at += part.length;
      this.#endRanges();
    }
  }

  finish(): Pick<FileHash, "crc32c" | "tensors"> {
    return { crc32c: formatCrc(this.#whole), tensors: this.#sums.map(formatCrc) };
  }

  /** Joins the ranges that are complete to the whole; also those without a byte. */
  #endRanges(): void {
    for (let range = this.#ranges[this.#range]; range; range = this.#ranges[this.#range]) {
      if (this.#at < range.offset + range.length) return;
      this.#whole = combineCrcs(this.#whole, this.#sums[this.#range] ?? 0, range.length);
      this.#range += 1;
    }
  }
}

/** Messages between {@link Hasher} and its thread. */
export type HashRequest = {
  readonly id: number;
  readonly path: string;
  readonly ranges: readonly FileRange[];
  /** Whether to tell how far it is. */
  readonly tell: boolean;
};
export type HashReply = { readonly id: number } & (
  | { readonly hash: FileHash }
  | { readonly bytes: number }
  | { readonly error: PlainError }
);

interface Waiting {
  resolve(hash: FileHash): void;
  reject(error: Error): void;
  readonly onProgress: ((bytes: number) => void) | undefined;
}

/** Hashes finished files. */
export interface FileHasher {
  /** @param ranges as of {@link hashFile}. @param onProgress gets the bytes read so far. @throws the system error of reading the file. */
  hash(
    path: string,
    ranges: readonly FileRange[],
    signal?: AbortSignal,
    onProgress?: (bytes: number) => void,
  ): Promise<FileHash>;
  /** Ends it; what is under way rejects. */
  close(): Promise<void>;
}

/** Hashes files in a thread that starts with the first. */
export class Hasher implements FileHasher {
  #thread: Worker | undefined;
  #next = 0;
  readonly #waiting = new Map<number, Waiting>();

  hash(
    path: string,
    ranges: readonly FileRange[],
    signal?: AbortSignal,
    onProgress?: (bytes: number) => void,
  ): Promise<FileHash> {
    signal?.throwIfAborted();
    const thread = this.#start();
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      const stop = () => reject(signal?.reason);
      signal?.addEventListener("abort", stop, { once: true });
      const end = () => signal?.removeEventListener("abort", stop); // It may live as long as the worker.
      this.#waiting.set(id, {
        resolve: (hash) => {
          end();
          resolve(hash);
        },
        reject: (error) => {
          end();
          reject(error);
        },
        onProgress,
      });
      thread.ref();
      const plain = ranges.map(({ offset, length }) => ({ offset, length }));
      const tell = onProgress !== undefined;
      thread.postMessage({ id, path, ranges: plain, tell } satisfies HashRequest);
    });
  }

  async close(): Promise<void> {
    if (this.#thread) await endThread(this.#thread);
    this.#thread = undefined;
  }

  #start(): Worker {
    if (this.#thread) return this.#thread;
    const thread = new Worker(entryPoint(import.meta.url, "./hash-thread.js"));
    thread.on("message", (reply: HashReply) => {
      const waiting = this.#waiting.get(reply.id);
      if ("bytes" in reply) {
        waiting?.onProgress?.(reply.bytes);
        return;
      }
      this.#waiting.delete(reply.id);
      if (this.#waiting.size === 0) thread.unref();
      if ("hash" in reply) waiting?.resolve(reply.hash);
      else waiting?.reject(reviveError(reply.error));
    });
    const fail = (error: Error) => {
      if (this.#thread !== thread) return;
      this.#thread = undefined; // The next hash starts another.
      for (const { reject } of this.#waiting.values()) reject(error);
      this.#waiting.clear();
    };
    thread.on("error", fail);
    thread.on("exit", () => fail(new Error("the hashing thread ended")));
    thread.unref();
    this.#thread = thread;
    return thread;
  }
}

/** Runs one request; for the thread. @param post sends how far it is, where that was asked for. */
export async function answerHash(
  { id, path, ranges, tell }: HashRequest,
  post: (reply: HashReply) => void,
): Promise<HashReply> {
  try {
    return { id, hash: await hashFile(path, ranges, tell ? (bytes) => post({ id, bytes }) : undefined) };
  } catch (error) {
    return { id, error: flattenError(error) };
  }
}
