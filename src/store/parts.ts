// The parts of a finished spool file on their way to a store. All uploads of the process share one budget of memory, whatever the
// shard's size and however many there are: a part is read when there is room for it, and nothing is read while there is none.

import { open } from "node:fs/promises";
import { SluiceError } from "../base/errors.js";
import { anyOf } from "./retry.js";

/** Bytes that the parts of all uploads may hold at once; what the sockets and the SDKs hold comes on top. */
export const UPLOAD_BYTES = 192 << 20;
/** No part is longer: three of them fit into {@link UPLOAD_BYTES}, so that one is read and one sent while another is awaited. */
export const MAX_PART_BYTES = 64 << 20;

/** A budget of buffers, given out first come, first served. Buffers are used again: fresh memory costs the kernel as much as reading the file. */
export class UploadMemory {
  readonly #limit: number;
  #used = 0;
  /** Not in use, and counted in no one's favour: given up when a buffer of another length is asked for. */
  #free: Buffer[] = [];
  readonly #waiting: { readonly length: number; readonly resolve: (buffer: Buffer) => void }[] = [];
  #peak = 0;

  /** @param limit in bytes. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** The most bytes that there were at once, in use or kept for the next. */
  get peak(): number {
    return this.#peak;
  }

  /** Bytes in use now. */
  get used(): number {
    return this.#used;
  }

  /**
   * A buffer of that length, as soon as it fits. Give it back with {@link release}.
   * @throws SluiceError `bug` where it can never fit; the signal's reason.
   */
  async acquire(length: number, signal?: AbortSignal): Promise<Buffer> {
    signal?.throwIfAborted();
    if (length > this.#limit)
      throw new SluiceError("bug", "a part is larger than the memory of all uploads", { found: length });
    if (this.#waiting.length === 0 && this.#fits(length)) return this.#take(length);
    return new Promise<Buffer>((resolve, reject) => {
      const stop = () => {
        const at = this.#waiting.indexOf(waiting);
        if (at >= 0) this.#waiting.splice(at, 1);
        this.#serve(); // It may have stood before others that fit.
        reject(signal?.reason);
      };
      const waiting = {
        length,
        resolve: (buffer: Buffer) => {
          signal?.removeEventListener("abort", stop);
          resolve(buffer);
        },
      };
      this.#waiting.push(waiting);
      signal?.addEventListener("abort", stop, { once: true });
    });
  }

  /** @param isIdle whether nothing can read the buffer any more: not so where a request with it broke off, and the kernel may hold its pages. */
  release(buffer: Buffer, isIdle: boolean): void {
    this.#used -= buffer.length;
    if (isIdle) this.#free.push(buffer);
    this.#serve();
  }

  #serve(): void {
    for (let next = this.#waiting[0]; next && this.#fits(next.length); next = this.#waiting[0]) {
      this.#waiting.shift();
      next.resolve(this.#take(next.length));
    }
  }

  #fits(length: number): boolean {
    return this.#used + length <= this.#limit;
  }

  #take(length: number): Buffer {
    this.#used += length;
    const at = this.#free.findIndex((buffer) => buffer.length === length);
    const [known] = at < 0 ? [] : this.#free.splice(at, 1);
    let kept = this.#free.reduce((sum, buffer) => sum + buffer.length, 0);
    while (this.#used + kept > this.#limit) kept -= this.#free.shift()?.length ?? kept;
    this.#peak = Math.max(this.#peak, this.#used + kept);
    return known ?? Buffer.allocUnsafeSlow(length);
  }
}

/** The process's memory for uploads. */
export const uploadMemory = new UploadMemory(UPLOAD_BYTES);

/** A range of a file, in memory. */
export interface FilePart {
  /** Which of the parts, from 0. */
  readonly index: number;
  /** Of the first byte, in the file. */
  readonly offset: number;
  readonly bytes: Buffer;
  /** Gives the memory back. @param isSent whether the store has acknowledged all of it; otherwise the buffer is not used again. */
  release(isSent: boolean): void;
}

/** Which bytes of a file, and in parts of what length; the last is shorter. */
export interface PartRange {
  readonly start?: number;
  readonly end: number;
  /** At most {@link MAX_PART_BYTES}. */
  readonly partBytes: number;
}

/**
 * Reads a file's parts in order; the next is read while one is in use. Each part must be released.
 * @throws SluiceError `store` where the file ends before; the system error of reading it; the signal's reason.
 */
export async function* readParts(
  path: string,
  { start = 0, end, partBytes }: PartRange,
  signal?: AbortSignal,
  memory = uploadMemory,
): AsyncGenerator<FilePart, void, undefined> {
  if (start >= end) return;
  const file = await open(path, "r");
  const ended = anyOf(signal ? [signal] : []);
  const either = ended.signal;
  // One length for all, also the last: buffers are used again by length.
  const length = Math.min(partBytes, end - start);
  const read = async (index: number): Promise<FilePart | null> => {
    const offset = start + index * length;
    if (offset >= end) return null;
    const buffer = await memory.acquire(length, either);
    try {
      const bytes = buffer.subarray(0, Math.min(length, end - offset));
      for (let done = 0; done < bytes.length; ) {
        either.throwIfAborted();
        const { bytesRead } = await file.read(bytes, done, bytes.length - done, offset + done);
        if (bytesRead === 0) throw truncated(path, offset + done, end);
        done += bytesRead;
      }
      let isHeld = true;
      const release = (isSent: boolean) => {
        if (isHeld) memory.release(buffer, isSent);
        isHeld = false;
      };
      return { index, offset, bytes, release };
    } catch (error) {
      memory.release(buffer, true);
      throw error;
    }
  };
  let ahead: Promise<FilePart | null> = read(0);
  ahead.catch(() => {}); // Raised at its turn.
  try {
    for (let index = 1; ; index++) {
      const part = await ahead;
      if (part === null) return;
      ahead = read(index);
      ahead.catch(() => {});
      yield part;
    }
  } finally {
    ended.abort(undefined);
    ended.dispose();
    (await ahead.catch(() => null))?.release(true);
    await file.close();
  }
}

/**
 * Sends a file's parts, several at once; `send` returns when the store has acknowledged the part. Where one fails for good the others
 * are aborted, and waited for.
 * @param inFlight how many are sent at once, at most.
 * @throws what `send` raises first; as {@link readParts}.
 */
export async function sendParts(
  path: string,
  range: PartRange & { readonly inFlight: number },
  send: (part: FilePart, signal: AbortSignal) => Promise<void>,
  signal?: AbortSignal,
  memory = uploadMemory,
): Promise<void> {
  const stop = anyOf(signal ? [signal] : []);
  const parts = readParts(path, range, stop.signal, memory);
  const sender = async () => {
    for (;;) {
      const { value: part, done } = await parts.next();
      if (done) return;
      let isSent = false;
      try {
        await send(part, stop.signal);
        isSent = true;
      } finally {
        part.release(isSent);
      }
    }
  };
  const senders = Array.from({ length: range.inFlight }, async () => {
    try {
      await sender();
    } catch (error) {
      stop.abort(error); // The first reason stays.
    }
  });
  await Promise.all(senders);
  await parts.return();
  stop.dispose();
  if (stop.signal.aborted) throw stop.signal.reason;
}

function truncated(path: string, found: number, expected: number): SluiceError {
  return new SluiceError("store", `${path} was cut short while it was uploaded`, {
    found: `its end at byte ${found}`,
    expected: `${expected} bytes`,
    fix: "Leave the spool folder alone while workers run, and start again.",
  });
}

/** The error of a file whose bytes are not those that were hashed. @param found the CRC32C of what was read. */
export function changedFile(
  body: { readonly file: string; readonly crc32c: string },
  found: string,
): SluiceError {
  return new SluiceError("store", `${body.file} was changed before it was uploaded`, {
    found: `CRC32C ${found}`,
    expected: body.crc32c,
    fix: "Leave the spool folder alone while workers run, and start again; if it happens again, its disk is bad.",
  });
}
