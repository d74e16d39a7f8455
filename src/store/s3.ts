// A bucket of Amazon S3, or of a store that speaks its protocol, as a store. Create-only is `If-None-Match: *` on PutObject and
// CompleteMultipartUpload. Every attempt to create carries a token in the object's metadata, so that after a lost reply the object
// itself says whose it is.

import { randomUUID } from "node:crypto";
import { crc32c } from "@node-rs/crc32";
import { formatCrc } from "../base/crc.js";
import { SluiceError } from "../base/errors.js";
import { parseBucketUri } from "./bucket-uri.js";
import { checkStored } from "./check-stored.js";
import { contentBytes } from "./http.js";
import { missingObject } from "./memory.js";
import { checkName, compareNames, isName } from "./names.js";
import { changedFile, readParts } from "./parts.js";
import { type Attempt, RequestFailure, Retrier, type RetryOptions } from "./retry.js";
import { fromS3Crc, toS3Crc } from "./s3-checksum.js";
import { S3Connection } from "./s3-client.js";
import { explainS3, isGone, isNotImplemented, isPreconditionFailed, S3Failure } from "./s3-errors.js";
import { partBytesFor } from "./s3-part-size.js";
import { isMd5Of, LargeUpload, type Requests, TOKEN } from "./s3-upload.js";
import {
  type Body,
  isInRange,
  type NameRange,
  type Store,
  type Stored,
  type UnfinishedUpload,
} from "./store.js";

/** How to use a bucket. */
export interface S3Options extends RetryOptions {
  /** The length of an object's parts; what is shorter goes in one request. Chosen by size where it is not given. */
  readonly partBytes?: number;
}

/** A {@link Store} below a prefix of a bucket. */
export class S3Store implements Store {
  readonly uri: string;
  readonly uploads: NonNullable<Store["uploads"]>;
  readonly #bucket: string;
  /** Empty, or ending in a slash. */
  readonly #prefix: string;
  readonly #retrier: Retrier;
  readonly #connection: S3Connection;
  readonly #partBytes: number | undefined;
  /** Whether the server honours If-Match on DeleteObject; known after the first removal. */
  #deletesByVersion: boolean | undefined;

  /** @param uri `s3://bucket/prefix`. @throws SluiceError `config` where it is none. */
  constructor(uri: string, options: S3Options = {}) {
    const place = parseBucketUri(uri);
    this.uri = place.uri;
    this.#bucket = place.bucket;
    this.#prefix = place.prefix;
    this.#retrier = new Retrier(options);
    this.#connection = new S3Connection(this.#retrier.statistics);
    this.#partBytes = options.partBytes;
    this.uploads = { list: (prefix) => this.#listUploads(prefix), abort: (upload) => this.#abort(upload) };
  }

  async create(name: string, body: Body, options: { signal?: AbortSignal } = {}): Promise<Stored | "exists"> {
    options.signal?.throwIfAborted();
    checkName(name);
    const token = randomUUID();
    if (body instanceof Uint8Array) return this.#put(name, body, { token, ...options });
    const partBytes = this.#partBytes ?? partBytesFor(body.size);
    if (body.size > partBytes) {
      const upload = new LargeUpload(this.#requests(name), { name, body, token, partBytes, ...options });
      return upload.run();
    }
    const range = { end: body.size, partBytes };
    for await (const part of readParts(body.file, range, options.signal)) {
      let isSent = false;
      try {
        const found = formatCrc(crc32c(part.bytes));
        if (found !== body.crc32c) throw changedFile(body, found);
        const stored = await this.#put(name, part.bytes, { token, crc: found, ...options });
        isSent = stored !== "exists";
        return stored;
      } finally {
        part.release(isSent);
      }
    }
    return this.#put(name, new Uint8Array(), { token, ...options });
  }

  async replace(name: string, body: Uint8Array, options: { signal?: AbortSignal } = {}): Promise<Stored> {
    options.signal?.throwIfAborted();
    const stored = await this.#put(checkName(name), body, options);
    if (stored !== "exists") return stored;
    throw new SluiceError("store", `${this.uri}/${name} cannot be replaced: the bucket's policy forbids it`);
  }

  async head(name: string): Promise<Stored | null> {
    return (await this.#requests(checkName(name)).head())?.stored ?? null;
  }

  async read(name: string, range?: { readonly start: number; readonly end: number }): Promise<Uint8Array> {
    checkName(name);
    const missing = (size: number | undefined) => missingObject(this.uri, name, size, range);
    if (range && range.end <= range.start) {
      const size = (await this.head(name))?.size;
      if (size === undefined || size < range.end) throw missing(size);
      return new Uint8Array();
    }
    return this.#run("read", name, undefined, async (attempt) => {
      try {
        const { reply, bytes } = await this.#connection.read(attempt, contentBytes(range), (s3, options) =>
          s3.getObject(
            { ...this.#object(name), ...(range && { Range: `bytes=${range.start}-${range.end - 1}` }) },
            options,
          ),
        );
        // A server that ignores ranges would send the whole.
        if (range && reply.ContentRange === undefined)
          throw new RequestFailure("the server ignored the range", { isRetryable: false });
        if (range && bytes.length < range.end - range.start)
          throw missing(sizeIn(reply.ContentRange) ?? range.start + bytes.length);
        return bytes;
      } catch (error) {
        if (isGone(error)) throw missing(undefined);
        // The answer names no size that the SDK would pass on.
        if (error instanceof S3Failure && error.status === 416) throw missing((await this.head(name))?.size);
        throw error;
      }
    });
  }

  async *list(prefix: string, range: NameRange = {}): AsyncGenerator<Stored> {
    const { from, to } = range;
    // S3 begins after a name, and the name itself may be there.
    const first = from?.startsWith(prefix) && isName(from) ? await this.head(from) : null;
    if (first && isInRange(first.name, range)) yield first;
    let after: string | undefined;
    do {
      const page = await this.#run("list", prefix, undefined, (attempt) =>
        this.#connection.call(attempt, (s3, options) =>
          s3.listObjectsV2(
            {
              Bucket: this.#bucket,
              Prefix: this.#prefix + prefix,
              EncodingType: "url",
              ...(after !== undefined && { ContinuationToken: after }),
              ...(from !== undefined && after === undefined && { StartAfter: this.#prefix + from }),
            },
            options,
          ),
        ),
      );
      for (const { Key, Size = 0, ETag = "" } of page.Contents ?? []) {
        const name = this.#nameOf(Key, page.EncodingType);
        if (name !== undefined && to !== undefined && compareNames(name, to) >= 0) return;
        if (name !== undefined) yield { name, size: Size, version: versionOf(ETag) };
      }
      after = page.IsTruncated ? page.NextContinuationToken : undefined;
      if (page.IsTruncated && after === undefined)
        throw new SluiceError("store", `the listing of ${this.uri}/${prefix} breaks off`, {
          found: "a page that says there are more, and not how to ask for them",
        });
    } while (after !== undefined);
  }

  async remove(name: string, version: string): Promise<void> {
    checkName(name);
    const remove = (etag: string | undefined) =>
      this.#run("remove", name, undefined, async (attempt) => {
        try {
          await this.#connection.call(attempt, (s3, options) =>
            s3.deleteObject(
              { ...this.#object(name), ...(etag !== undefined && { IfMatch: `"${etag}"` }) },
              options,
            ),
          );
          return "removed";
        } catch (error) {
          if (isPreconditionFailed(error) || isGone(error)) return "kept";
          if (isNotImplemented(error)) return "unknown";
          throw error;
        }
      });
    if (this.#deletesByVersion) {
      await remove(version);
      return;
    }
    if ((await this.head(name))?.version !== version) return;
    if (this.#deletesByVersion === undefined) {
      // The object is the one that is meant: a server that ignores the condition removes it now, one that honours it says so.
      const reply = await remove(NO_VERSION);
      this.#deletesByVersion = reply === "kept";
      if (reply === "removed") return;
    }
    await remove(this.#deletesByVersion ? version : undefined);
  }

  /** One object in one request; create-only where there is a token. */
  #put(
    name: string,
    bytes: Uint8Array,
    {
      token,
      crc = formatCrc(crc32c(bytes)),
      signal,
    }: { readonly token?: string; readonly crc?: string; readonly signal?: AbortSignal },
  ): Promise<Stored | "exists"> {
    const requests = this.#requests(name);
    const check = (stored: Stored) =>
      checkStored(stored, { size: bytes.length, crc32c: crc }, `${this.uri}/${name}`);
    return this.#run(token === undefined ? "replace" : "create", name, signal, async (attempt) => {
      if (token !== undefined && attempt.number > 1) {
        // The last attempt may have had its effect. (A server may even refuse a name that is taken and close the connection before it has
        // read the body: then its answer is never seen.)
        const there = await requests.head(attempt);
        if (there) return there.token === token ? check(there.stored) : "exists";
      }
      try {
        const reply = await this.#connection.call(attempt, (s3, options) =>
          s3.putObject(
            {
              ...this.#object(name),
              Body: bytes,
              ContentLength: bytes.length,
              ContentType: "application/octet-stream",
              ChecksumCRC32C: toS3Crc(crc),
              ...(token !== undefined && { IfNoneMatch: "*", Metadata: { [TOKEN]: token } }),
            },
            options,
          ),
        );
        const kept = fromS3Crc(reply);
        if (kept === undefined && !(await isMd5Of(bytes, reply)))
          throw new RequestFailure("it did not arrive as it was sent", { isRetryable: false });
        // A server that keeps no CRC32C is asked at least for the size.
        const stored = kept === undefined ? (await requests.head(attempt))?.stored : undefined;
        return check(
          stored ?? {
            name,
            size: bytes.length,
            version: versionOf(reply.ETag),
            ...(kept && { crc32c: kept }),
          },
        );
      } catch (error) {
        if (!isPreconditionFailed(error)) throw error;
        const there = attempt.number > 1 ? await requests.head(attempt) : null;
        return there && there.token === token ? check(there.stored) : "exists";
      }
    });
  }

  /** What the pieces of a driver send for one object. */
  #requests(name: string): Requests {
    const requests: Requests = {
      object: this.#object(name),
      run: (kind, signal, attempt, stallMs) => this.#run(kind, name, signal, attempt, stallMs),
      call: (watch, run) => this.#connection.call(watch, run),
      head: (within) => {
        const head = async (watch: Attempt) => {
          try {
            const reply = await this.#connection.call(watch, (s3, options) =>
              s3.headObject({ ...this.#object(name), ChecksumMode: "ENABLED" }, options),
            );
            const crc = fromS3Crc(reply);
            const stored: Stored = {
              name,
              size: reply.ContentLength ?? 0,
              version: versionOf(reply.ETag),
              ...(crc !== undefined && { crc32c: crc }),
            };
            return { stored, token: reply.Metadata?.[TOKEN] };
          } catch (error) {
            if (isGone(error)) return null;
            throw error;
          }
        };
        if (!within) return this.#run("head", name, undefined, head);
        this.#retrier.statistics.count("head");
        return head(within);
      },
    };
    return requests;
  }

  async *#listUploads(prefix: string): AsyncGenerator<UnfinishedUpload> {
    let after: { readonly KeyMarker?: string | undefined; readonly UploadIdMarker?: string | undefined } = {};
    for (;;) {
      const page = await this.#run("list uploads", prefix, undefined, (attempt) =>
        this.#connection.call(attempt, (s3, options) =>
          s3.listMultipartUploads(
            { Bucket: this.#bucket, Prefix: this.#prefix + prefix, EncodingType: "url", ...after },
            options,
          ),
        ),
      );
      for (const { Key, UploadId } of page.Uploads ?? []) {
        const name = this.#nameOf(Key, page.EncodingType);
        if (name !== undefined && UploadId !== undefined) yield { name, id: UploadId };
      }
      if (!page.IsTruncated) return;
      after = {
        KeyMarker: decodeKey(page.NextKeyMarker, page.EncodingType),
        UploadIdMarker: page.NextUploadIdMarker,
      };
    }
  }

  async #abort({ name, id }: UnfinishedUpload): Promise<void> {
    await this.#run("abort upload", checkName(name), undefined, async (attempt) => {
      try {
        await this.#connection.call(attempt, (s3, options) =>
          s3.abortMultipartUpload({ ...this.#object(name), UploadId: id }, options),
        );
      } catch (error) {
        if (!isGone(error)) throw error;
      }
    });
  }

  #run<T>(
    kind: string,
    name: string,
    signal: AbortSignal | undefined,
    attempt: (attempt: Attempt) => Promise<T>,
    stallMs?: number,
  ): Promise<T> {
    const uri = `${this.uri}/${name}`;
    return this.#retrier.run({ kind, uri }, attempt, {
      signal,
      explain: (failure) => explainS3(failure, this.#bucket, uri),
      ...(stallMs !== undefined && { stallMs }),
    });
  }

  #object(name: string) {
    return { Bucket: this.#bucket, Key: this.#prefix + name };
  }

  /** The object's name below the prefix; undefined for what no store of ours can have made, such as the markers that consoles leave for folders. */
  #nameOf(key: string | undefined, encoding: string | undefined): string | undefined {
    const whole = decodeKey(key, encoding);
    const name = whole?.startsWith(this.#prefix) ? whole.slice(this.#prefix.length) : undefined;
    return name !== undefined && isName(name) ? name : undefined;
  }
}

/** No object's: an ETag is the MD5 of something, or longer. */
const NO_VERSION = "0";

/** An ETag without its quotes. */
function versionOf(etag: string | undefined): string {
  return (etag ?? "").replace(/^W\//, "").replaceAll('"', "");
}

/** A key as it is; servers may ignore that URL encoding was asked for, and say so. */
function decodeKey(key: string | undefined, encoding: string | undefined): string | undefined {
  return encoding === "url" ? key && decodeURIComponent(key.replaceAll("+", " ")) : key;
}

/** The object's size in a Content-Range, `bytes 3-5/10`. */
function sizeIn(range: string | undefined): number | undefined {
  const size = /\/(\d+)$/.exec(range ?? "")?.[1];
  return size === undefined ? undefined : Number(size);
}
