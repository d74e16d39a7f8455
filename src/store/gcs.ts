// A bucket of Google Cloud Storage as a store. Create-only is `ifGenerationMatch=0`. Every upload carries the checksum of its
// bytes, which the service compares before there is an object, and a mark of its own: where a reply was lost, the next attempt
// hears that the name is taken, and the mark tells whether by us.

import { crc32c } from "@node-rs/crc32";
import { formatCrc } from "../base/crc.js";
import { SluiceError } from "../base/errors.js";
import { type BucketPlace, parseBucketUri } from "./bucket-uri.js";
import { checkStored } from "./check-stored.js";
import { failureOf, GcsApi } from "./gcs-api.js";
import { explainRefusal, isBucketMissing, isDamaged, noBucket } from "./gcs-errors.js";
import {
  decodeCrc,
  decodeObject,
  decodePage,
  FIELDS,
  isMadeBy,
  MARKED_FIELDS,
  metadataOf,
  type ObjectResource,
  type Page,
  type Upload,
  uploadOf,
} from "./gcs-object.js";
import { GcsSession } from "./gcs-session.js";
import { contentBytes, type HttpReply } from "./http.js";
import { missingObject } from "./memory.js";
import { checkName, isName } from "./names.js";
import { type Attempt, RequestFailure, Retrier, type RetryOptions } from "./retry.js";
import type { Body, NameRange, Store, Stored } from "./store.js";

/** Files up to this size go in one request; larger ones in a resumable session. */
const SINGLE_REQUEST_BYTES = 8 << 20;
/** Bodies in memory up to this size are copied into one piece with what stands around them. */
const JOINED_BYTES = 256 << 10;
/** Sessions of one object, where the service loses them or the bytes arrive damaged, before it is given up. */
const SESSIONS = 4;
const PAGE_SIZE = 1000;

/** How a bucket is used. */
export interface GcsOptions extends RetryOptions {
  /** The URL of an emulator; by default STORAGE_EMULATOR_HOST names one, or Google's own service is meant. */
  readonly emulator?: string | undefined;
  /** Objects in a page of a listing: 1 to 1000. */
  readonly pageSize?: number;
  /** Files of more bytes are uploaded in a session. */
  readonly singleRequestBytes?: number;
}

/** A {@link Store} below a prefix of a bucket. */
export class GcsStore implements Store {
  readonly uri: string;
  readonly #place: BucketPlace;
  readonly #api: GcsApi;
  readonly #retrier: Retrier;
  readonly #pageSize: number;
  readonly #singleRequestBytes: number;

  /** @param uri `gs://bucket/prefix`. @throws SluiceError `config` where it is none. */
  constructor(uri: string, options: GcsOptions = {}) {
    this.#place = parseBucketUri(uri);
    this.uri = this.#place.uri;
    this.#retrier = new Retrier(options);
    this.#api = new GcsApi(this.#retrier.statistics, options.emulator);
    this.#pageSize = options.pageSize ?? PAGE_SIZE;
    this.#singleRequestBytes = options.singleRequestBytes ?? SINGLE_REQUEST_BYTES;
  }

  async create(name: string, body: Body, options: { signal?: AbortSignal } = {}): Promise<Stored | "exists"> {
    const upload = uploadOf(this.#objectName(name), body);
    const isSmall = body instanceof Uint8Array || body.size <= this.#singleRequestBytes;
    const found = isSmall
      ? await this.#uploadAtOnce(name, upload, true, options.signal)
      : await this.#uploadInSession(name, upload, options.signal);
    return found === "exists" ? "exists" : this.#check(name, upload, found);
  }

  async replace(name: string, body: Uint8Array, options: { signal?: AbortSignal } = {}): Promise<Stored> {
    const upload = uploadOf(this.#objectName(name), body);
    const found = await this.#uploadAtOnce(name, upload, false, options.signal);
    if (found !== "exists") return this.#check(name, upload, found);
    throw new SluiceError("store", `${this.uri}/${name} cannot be replaced: the bucket forbids it`);
  }

  async head(name: string): Promise<Stored | null> {
    const object = this.#objectName(name);
    const found = await this.#run("head", name, (attempt) => this.#find(object, FIELDS, attempt));
    return found && this.#describe(found);
  }

  async read(name: string, range?: { readonly start: number; readonly end: number }): Promise<Uint8Array> {
    const object = this.#objectName(name);
    if (range && range.end <= range.start) {
      const size = (await this.head(name))?.size;
      if (size === undefined || size < range.end) throw missingObject(this.uri, name, size, range);
      return new Uint8Array();
    }
    return this.#run("read", name, async (attempt) => {
      const reply = await this.#api.call(
        {
          method: "GET",
          path: this.#pathOf(object),
          query: { alt: "media" },
          ...(range && { headers: { range: `bytes=${range.start}-${range.end - 1}` } }),
          replyBytes: contentBytes(range),
        },
        attempt,
        [404, 416],
      );
      if (reply.status === 404) {
        this.#refuseMissingBucket(reply);
        throw missingObject(this.uri, name, undefined, range);
      }
      return range ? this.#takeRange(name, reply, range) : takeWhole(reply);
    });
  }

  async *list(prefix: string, range: NameRange = {}): AsyncGenerator<Stored> {
    let pageToken: string | undefined = "";
    while (pageToken !== undefined) {
      const page: Page = await this.#listPage(prefix, range, pageToken);
      for (const item of page.items) {
        const stored = this.#describe(item);
        // Not so: folders that a console made (`run/`), and whatever else has a name that no run gives.
        if (isName(stored.name)) yield stored;
      }
      pageToken = page.nextPageToken || undefined;
    }
  }

  async remove(name: string, version: string): Promise<void> {
    const object = this.#objectName(name);
    await this.#run("remove", name, async (attempt) => {
      const reply = await this.#api.call(
        { method: "DELETE", path: this.#pathOf(object), query: { ifGenerationMatch: version } },
        attempt,
        [404, 412], // Gone; another by now.
      );
      this.#refuseMissingBucket(reply);
    });
  }

  #listPage(prefix: string, { from, to }: NameRange, pageToken: string): Promise<Page> {
    const query = {
      prefix: this.#place.prefix + prefix,
      fields: `items(${FIELDS}),nextPageToken`,
      maxResults: String(this.#pageSize),
      ...(from !== undefined && { startOffset: this.#place.prefix + from }),
      ...(to !== undefined && { endOffset: this.#place.prefix + to }),
      ...(pageToken !== "" && { pageToken }),
    };
    return this.#run("list", prefix, async (attempt) =>
      decodePage(await this.#api.call({ method: "GET", path: this.#pathOf(), query }, attempt)),
    );
  }

  /** One request with metadata and bytes (uploadType=multipart). */
  #uploadAtOnce(
    name: string,
    upload: Upload,
    isNew: boolean,
    signal: AbortSignal | undefined,
  ): Promise<ObjectResource | "exists"> {
    const boundary = `sluice-${upload.mark}`;
    const part = (type: string) => `--${boundary}\r\ncontent-type: ${type}\r\n\r\n`;
    const head = Buffer.concat([
      Buffer.from(part("application/json; charset=UTF-8")),
      metadataOf(upload),
      Buffer.from(`\r\n${part("application/octet-stream")}`),
    ]);
    const tail = Buffer.from(`\r\n--${boundary}--\r\n`);
    const send = async (attempt: Attempt) => {
      const reply = await this.#api.call(
        {
          method: "POST",
          path: this.#uploadPath,
          query: { uploadType: "multipart", fields: FIELDS, ...(isNew && { ifGenerationMatch: "0" }) },
          headers: { "content-type": `multipart/related; boundary=${boundary}` },
          body: {
            length: head.length + upload.size + tail.length,
            write: async (write) => {
              // A small object goes in one piece: one packet, and no waiting for an acknowledgement half-way.
              if (upload.bytes && upload.size <= JOINED_BYTES)
                return write(Buffer.concat([head, upload.bytes, tail]));
              await write(head);
              await upload.write(write, 0, attempt.signal);
              await write(tail);
            },
          },
        },
        attempt,
        [400, 412],
      );
      if (reply.status === 400) throw failureOf(reply, isDamaged(reply));
      if (reply.status !== 412) return decodeObject(reply);
      return attempt.number === 1 ? "exists" : this.#settle(upload, attempt);
    };
    return this.#run(isNew ? "create" : "replace", name, send, signal);
  }

  /** A resumable session, or several where they are lost. */
  async #uploadInSession(
    name: string,
    upload: Upload,
    signal: AbortSignal | undefined,
  ): Promise<ObjectResource | "exists"> {
    let end = "";
    for (let sessions = 0; sessions < SESSIONS; sessions++) {
      const open = async (attempt: Attempt) => {
        const opened = await GcsSession.open(this.#api, this.#uploadPath, upload, attempt);
        // A session of ours may have come to its end unheard.
        return opened === "exists" && sessions > 0 ? this.#settle(upload, attempt) : opened;
      };
      const session = await this.#run("open-upload", name, open, signal);
      if (!(session instanceof GcsSession)) return session;
      const found = await this.#run(
        "upload",
        name,
        async (attempt) => {
          const outcome = await session.send(attempt);
          return outcome.kind === "taken" ? this.#settle(upload, attempt) : outcome;
        },
        signal,
      );
      if (found === "exists" || "generation" in found) return found;
      if (found.kind === "done") return found.object;
      end = found.kind;
    }
    throw new SluiceError("store", `${this.uri}/${name} cannot be uploaded`, {
      found: end === "damaged" ? "bytes that arrive damaged" : "upload sessions that the store forgets",
      expected: `CRC32C ${upload.crc32c}`,
      fix: "The store or the way to it fails: start again, and run with another store if it happens again.",
      values: { name },
    });
  }

  /** The name is taken, and an attempt of ours may have done it. */
  async #settle(upload: Upload, attempt: Attempt): Promise<ObjectResource | "exists"> {
    this.#retrier.statistics.count("head");
    const found = await this.#find(upload.object, MARKED_FIELDS, attempt);
    return isMadeBy(upload, found) ? found : "exists";
  }

  /** Compares what the store says with what was sent. @throws SluiceError `store` where they differ. */
  #check(name: string, upload: Upload, found: ObjectResource): Stored {
    return checkStored(this.#describe(found), upload, `${this.uri}/${name}`);
  }

  async #find(object: string, fields: string, attempt: Attempt): Promise<ObjectResource | null> {
    const request = { method: "GET", path: this.#pathOf(object), query: { fields } } as const;
    const reply = await this.#api.call(request, attempt, [404]);
    if (reply.status !== 404) return decodeObject(reply);
    this.#refuseMissingBucket(reply);
    return null;
  }

  /** The range out of a reply: all of it, or an error. */
  #takeRange(
    name: string,
    reply: HttpReply,
    range: { readonly start: number; readonly end: number },
  ): Buffer {
    const { status, body } = reply;
    const length = range.end - range.start;
    const total = Number(/\/(\d+)$/.exec(reply.headers["content-range"] ?? "")?.[1] ?? Number.NaN);
    if (status === 206 && body.length === length) return body;
    if (status === 200 && body.length >= range.end) return body.subarray(range.start, range.end); // It knows no ranges.
    if (status !== 206 || total < range.end)
      throw missingObject(this.uri, name, status === 200 ? body.length : total || 0, range);
    throw new RequestFailure(`${body.length} bytes came instead of ${length}`);
  }

  #run<T>(
    kind: string,
    name: string,
    attempt: (attempt: Attempt) => Promise<T>,
    signal?: AbortSignal,
  ): Promise<T> {
    const explain = (failure: RequestFailure) => explainRefusal(failure, kind, this.#place.bucket);
    return this.#retrier.run({ kind, uri: `${this.uri}/${name}` }, attempt, { signal, explain });
  }

  #describe({ name, size, generation, crc32c: sum }: ObjectResource): Stored {
    const stored = { name: name.slice(this.#place.prefix.length), size, version: generation };
    return sum === undefined ? stored : { ...stored, crc32c: decodeCrc(sum) };
  }

  #refuseMissingBucket(reply: HttpReply): void {
    if (isBucketMissing(reply)) throw noBucket(this.#place.bucket, `HTTP ${reply.status}`);
  }

  /** @throws SluiceError `data` for a name that is none, by itself or with the prefix before it. */
  #objectName(name: string): string {
    return checkName(this.#place.prefix + checkName(name));
  }

  /** Of an object, or of all. */
  #pathOf(object?: string): string {
    const all = `/storage/v1/b/${encodeURIComponent(this.#place.bucket)}/o`;
    return object === undefined ? all : `${all}/${encodeURIComponent(object)}`;
  }

  get #uploadPath(): string {
    return `/upload${this.#pathOf()}`;
  }
}

/** A whole object, compared with the checksum that came with it. */
function takeWhole({ headers, body }: HttpReply): Buffer {
  const sum = /(?:^|,\s*)crc32c=([A-Za-z0-9+/=]+)/.exec(headers["x-goog-hash"] ?? "")?.[1];
  if (sum === undefined || decodeCrc(sum) === formatCrc(crc32c(body))) return body;
  throw new RequestFailure("the bytes that came have another CRC32C than the object");
}
