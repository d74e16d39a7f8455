// One large object on its way to S3: begun, its parts sent several at once, completed create-only, and looked at. What fails is sent
// again alone; what cannot go on (somebody gave the upload up; a conflicting write) starts over.

import { createHash } from "node:crypto";
import { setImmediate, setTimeout as sleep } from "node:timers/promises";
import { crc32c } from "@node-rs/crc32";
import { combineCrcs, formatCrc } from "../base/crc.js";
import { SluiceError } from "../base/errors.js";
import { checkStored } from "./check-stored.js";
import type { Watch } from "./http.js";
import { changedFile, type FilePart, sendParts } from "./parts.js";
import { type Attempt, RequestFailure } from "./retry.js";
import { toS3Crc } from "./s3-checksum.js";
import type { Call } from "./s3-client.js";
import { isConflict, isGone, isPreconditionFailed } from "./s3-errors.js";
import type { Body, Stored } from "./store.js";

/** The name of the metadata that says which attempt made an object. */
export const TOKEN = "sluice-upload";
/** Parts of one object that are sent at once. */
const IN_FLIGHT = 8;
/** How often an upload is begun, at most. */
const ROUNDS = 5;
/** S3 may take minutes to put ten thousand parts together, and then says nothing but spaces. */
const COMPLETE_STALL_MS = 600_000;
/** How long the reply to a beginning is awaited, also after an abort. */
const BEGIN_MS = 120_000;
const ABANDON_MS = 5_000;
const ABANDON_ATTEMPTS = 5;
const ABANDON_PAUSE_MS = 100;
const MD5_SLICE = 4 << 20;

/** What an upload asks of its store. */
export interface Requests {
  readonly object: { readonly Bucket: string; readonly Key: string };
  run<T>(
    kind: string,
    signal: AbortSignal | undefined,
    attempt: (attempt: Attempt) => Promise<T>,
    stallMs?: number,
  ): Promise<T>;
  call<T>(watch: Watch, run: Call<T>): Promise<T>;
  /** The object as it is, and the token of whoever made it. @param within an attempt of something else that this is part of. */
  head(within?: Attempt): Promise<{ readonly stored: Stored; readonly token: string | undefined } | null>;
}

/** What is uploaded. */
export interface UploadTask {
  readonly name: string;
  readonly body: Exclude<Body, Uint8Array>;
  readonly token: string;
  readonly partBytes: number;
  readonly signal?: AbortSignal;
}

interface SentPart {
  readonly PartNumber: number;
  readonly ETag: string;
  /** Where the server keeps it. */
  readonly ChecksumCRC32C?: string;
  readonly crc: number;
  readonly length: number;
}

/** A multipart upload. (Not named so: TypeScript 7.0.2 renames the request's member `MultipartUpload` inside a class of that name.) */
export class LargeUpload {
  readonly #requests: Requests;
  readonly #task: UploadTask;

  constructor(requests: Requests, task: UploadTask) {
    this.#requests = requests;
    this.#task = task;
  }

  /** Uploads and completes. @throws SluiceError `store` where the file is not what it was said to be, or the store keeps something else. */
  async run(): Promise<Stored | "exists"> {
    // Absence would prove nothing, but a name that is taken spares sending gigabytes.
    if (await this.#requests.head()) return "exists";
    for (let round = 1; ; round++) {
      const outcome = await this.#try();
      if (outcome !== "over") return outcome;
      if (round === ROUNDS)
        throw new SluiceError("store", `the upload of ${this.#task.name} had to start over ${ROUNDS} times`, {
          fix: "Something gives up uploads that are under way (a lifecycle rule, a gc): stop it, and start again.",
        });
    }
  }

  async #try(): Promise<Stored | "exists" | "over"> {
    const { signal } = this.#task;
    const id = await this.#begin();
    let outcome: Stored | "exists" | "over" | undefined;
    try {
      const parts = await this.#sendAll(id);
      this.#checkSum(parts);
      outcome = await this.#complete(id, parts);
      return outcome;
    } catch (error) {
      signal?.throwIfAborted();
      if (!(error instanceof Over)) throw error;
      outcome = await this.#settle();
      return outcome;
    } finally {
      if (typeof outcome !== "object") await this.#abandon(id);
    }
  }

  #begin(): Promise<string> {
    const { token, signal } = this.#task;
    return this.#requests.run("begin upload", signal, async (attempt) => {
      // Not stopped with the attempt: the upload may have begun, and only the reply says what it is to be given up by.
      const watch = { signal: AbortSignal.timeout(BEGIN_MS), isAlive: attempt.isAlive };
      const { UploadId } = await this.#requests.call(watch, (s3, options) =>
        s3.createMultipartUpload(
          {
            ...this.#requests.object,
            ChecksumAlgorithm: "CRC32C",
            ChecksumType: "FULL_OBJECT",
            ContentType: "application/octet-stream",
            Metadata: { [TOKEN]: token },
          },
          options,
        ),
      );
      if (UploadId === undefined) throw new RequestFailure("the server began an upload without a name");
      if (attempt.signal.aborted) await this.#abandon(UploadId);
      return UploadId;
    });
  }

  async #sendAll(id: string): Promise<readonly SentPart[]> {
    const { body, partBytes, signal } = this.#task;
    const sent: SentPart[] = [];
    const range = { end: body.size, partBytes, inFlight: IN_FLIGHT };
    await sendParts(
      body.file,
      range,
      async (part, stop) => {
        sent[part.index] = await this.#send(id, part, stop);
      },
      signal,
    );
    return sent;
  }

  #send(id: string, { index, bytes }: FilePart, signal: AbortSignal): Promise<SentPart> {
    const crc = crc32c(bytes);
    const sum = toS3Crc(crc);
    return this.#requests.run("upload part", signal, async (attempt) => {
      try {
        const reply = await this.#requests.call(attempt, (s3, options) =>
          s3.uploadPart(
            {
              ...this.#requests.object,
              UploadId: id,
              PartNumber: index + 1,
              Body: bytes,
              ContentLength: bytes.length,
              ChecksumCRC32C: sum,
            },
            options,
          ),
        );
        const { ETag = "", ChecksumCRC32C } = reply;
        const isSame = ChecksumCRC32C === undefined ? await isMd5Of(bytes, reply) : ChecksumCRC32C === sum;
        if (!isSame) throw new RequestFailure(`part ${index + 1} did not arrive as it was sent`);
        const kept = ChecksumCRC32C !== undefined && { ChecksumCRC32C };
        return { PartNumber: index + 1, ETag, ...kept, crc, length: bytes.length };
      } catch (error) {
        throw isGone(error) ? new Over() : error;
      }
    });
  }

  /** What was read for sending is what was hashed. */
  #checkSum(parts: readonly SentPart[]): void {
    const { body } = this.#task;
    const found = formatCrc(parts.reduce((sum, { crc, length }) => combineCrcs(sum, crc, length), 0));
    if (found !== body.crc32c) throw changedFile(body, found);
  }

  async #complete(id: string, parts: readonly SentPart[]): Promise<Stored | "exists" | "over"> {
    const { name, body, signal } = this.#task;
    const keepsCrc = parts.every(({ ChecksumCRC32C }) => ChecksumCRC32C !== undefined);
    const outcome = await this.#requests.run(
      "complete upload",
      signal,
      async (attempt) => {
        try {
          await this.#requests.call(attempt, (s3, options) =>
            s3.completeMultipartUpload(
              {
                ...this.#requests.object,
                UploadId: id,
                IfNoneMatch: "*",
                MpuObjectSize: body.size,
                ...(keepsCrc && { ChecksumType: "FULL_OBJECT", ChecksumCRC32C: toS3Crc(body.crc32c) }),
                MultipartUpload: {
                  Parts: parts.map(({ PartNumber, ETag, ChecksumCRC32C }) => ({
                    PartNumber,
                    ETag,
                    ...(ChecksumCRC32C !== undefined && { ChecksumCRC32C }),
                  })),
                },
              },
              options,
            ),
          );
          return "completed";
        } catch (error) {
          if (isPreconditionFailed(error)) return "taken";
          // Already completed by an attempt whose reply was lost; or given up by somebody.
          if (isGone(error) || isConflict(error)) return "unclear";
          throw error;
        }
      },
      COMPLETE_STALL_MS,
    );
    const settled = await this.#settle();
    if (settled !== "over" || outcome === "unclear") return settled;
    // Taken, and free again by now.
    if (outcome === "taken") return "exists";
    throw new SluiceError("store", `${name} vanished as soon as it was uploaded`, {
      fix: "Something removes objects from the bucket (a lifecycle rule): stop it, and start again.",
    });
  }

  /** Whose object has the name now. */
  async #settle(): Promise<Stored | "exists" | "over"> {
    const there = await this.#requests.head();
    if (there === null) return "over";
    return there.token === this.#task.token ? this.#check(there.stored) : "exists";
  }

  #check(stored: Stored): Stored {
    return checkStored(stored, this.#task.body, this.#requests.object.Key);
  }

  /**
   * Gives the upload up, so that its parts cost nothing. A best effort, also after an abort, and so with a limit of its own: gc finds what
   * is left. Parts that were on their way may still arrive and keep the server from clearing up: then it is told again.
   */
  async #abandon(id: string): Promise<void> {
    const limit = AbortSignal.timeout(ABANDON_MS);
    const abort = () =>
      this.#requests.call({ signal: limit, isAlive: () => {} }, (s3, options) =>
        s3.abortMultipartUpload({ ...this.#requests.object, UploadId: id }, options),
      );
    for (let number = 0; number < ABANDON_ATTEMPTS && !limit.aborted; number++) {
      const isDone = await abort().then(
        () => true,
        (error: unknown) => isGone(error),
      );
      if (isDone) return;
      await sleep(ABANDON_PAUSE_MS);
    }
  }
}

/** The upload is no more. */
class Over extends Error {}

/** What a server tells of bytes it got. */
interface Receipt {
  readonly ETag?: string | undefined;
  readonly ServerSideEncryption?: string | undefined;
  readonly SSECustomerAlgorithm?: string | undefined;
}

/**
 * For a server that keeps no CRC32C: whether the MD5 that most give as ETag is that of the bytes. True where the ETag is no MD5, as with
 * KMS keys.
 */
export async function isMd5Of(bytes: Uint8Array, receipt: Receipt): Promise<boolean> {
  const [, expected] = /^"?([0-9a-f]{32})"?$/.exec(receipt.ETag ?? "") ?? [];
  const isKeyed = receipt.ServerSideEncryption?.startsWith("aws:kms") || receipt.SSECustomerAlgorithm;
  if (expected === undefined || isKeyed) return true;
  const hash = createHash("md5");
  for (let at = 0; at < bytes.length; at += MD5_SLICE) {
    hash.update(bytes.subarray(at, at + MD5_SLICE));
    await setImmediate(); // 6 ms each: the heartbeat must not wait for all.
  }
  return hash.digest("hex") === expected;
}
