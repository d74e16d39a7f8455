// A strict fake of Google Cloud Storage's JSON API, for tests and benchmarks: it behaves as the documentation says, also where
// the emulators do not (308 with what has been persisted, preconditions at the opening of a session and at its end, checksums that
// hold), refuses what it does not know, and can be made to fail in every way that a store or the way to it fails.
// https://cloud.google.com/storage/docs/json_api/v1, https://cloud.google.com/storage/docs/performing-resumable-uploads

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { crc32c } from "@node-rs/crc32";
import { combineCrcs } from "../src/base/crc.js";

/** What a request is: the unit of faults and counts. */
export type RequestKind = "insert" | "open" | "put" | "query" | "head" | "read" | "list" | "delete";

/** A request as a fault sees it. */
export interface FakeRequest {
  readonly kind: RequestKind;
  /** The object's name; of a listing, the prefix. */
  readonly object: string;
  /** Requests of this kind so far, this one included. */
  readonly count: number;
  /** All requests so far, this one included. */
  readonly total: number;
}

/** How a request fails. */
export type Fault =
  /** An answer before the body has been read, after which the connection is closed. */
  | { readonly kind: "early"; readonly status: number }
  /** An answer without any effect. */
  | {
      readonly kind: "status";
      readonly status: number;
      readonly retryAfter?: string;
      readonly message?: string;
    }
  /** The connection is cut after so many bytes of the body; a session keeps what it has, in steps of 256 KiB. */
  | { readonly kind: "cut"; readonly after: number }
  /** The effect takes place; the reply is lost. */
  | { readonly kind: "lost" }
  /** Never answered. */
  | { readonly kind: "stall" }
  /** Looked at when something else has happened. */
  | { readonly kind: "late"; readonly after: Promise<unknown> }
  /** A session keeps no more than so many bytes of the body, and says so with a 308. */
  | { readonly kind: "partial"; readonly bytes: number }
  /** The first byte of the body, or of the content that is read, arrives changed. */
  | { readonly kind: "damage" }
  /** The session is forgotten. */
  | { readonly kind: "forget" }
  /** The reply names a wrong checksum. */
  | { readonly kind: "lie" }
  /** The content that is read breaks off after so many bytes. */
  | { readonly kind: "torn"; readonly after: number };

interface FakeObject {
  readonly size: number;
  readonly crc: number;
  readonly generation: string;
  readonly metadata: Readonly<Record<string, string>> | undefined;
  /** Where the bytes are kept; what lies between them is zeros. */
  readonly pieces: readonly Piece[];
}
interface Piece {
  readonly offset: number;
  readonly bytes: Buffer;
}
interface Session {
  readonly object: string;
  readonly size: number | undefined;
  readonly declared: { readonly crc32c?: string; readonly metadata?: Record<string, string> };
  readonly precondition: string | null;
  readonly pieces: Piece[];
  kept: number;
  crc: number;
  /** What came after the last multiple of 256 KiB: lost with the connection. */
  done: FakeObject | undefined;
}

const STEP = 256 << 10;
const FIELDS = /^(items\([a-z0-9,]+\),nextPageToken|[a-z0-9,]+)$/i;

/** A server with one bucket. */
export class FakeGcs {
  readonly bucket: string;
  readonly objects = new Map<string, FakeObject>();
  readonly sessions = new Map<string, Session>();
  /** Requests by kind. */
  readonly counts = new Map<RequestKind, number>();
  /** Decides the fate of every request. */
  fault: (request: FakeRequest) => Fault | undefined = () => undefined;
  /** Whether bytes are kept, or of which objects: of at most so many bytes. Others are summed and dropped, and read back as zeros. */
  keep: boolean | number = true;
  /** The token that every request must show, apart from those to sessions. */
  token: string | undefined;
  /** Where a session of this size is opened, it is said to have everything but the last bytes once the first have come: zeros. */
  skipTo: { readonly size: number; readonly offset: number } | undefined;
  readonly #server: Server;
  readonly #stalled = new Set<IncomingMessage>();
  #generation = 1_700_000_000_000_000;
  #sessionCount = 0;

  constructor(bucket = "bucket") {
    this.bucket = bucket;
    this.#server = createServer((request, response) => {
      request.on("error", () => {}); // A client may leave at any time.
      this.#handle(request, response).catch((error: unknown) => {
        if (error instanceof Gone) return;
        if (error instanceof Refusal)
          reply(response, error.status, describeError(error.status, error.message));
        else reply(response, 500, describeError(500, String(error)));
      });
    });
    this.#server.keepAliveTimeout = 60_000;
  }

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    return this;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** For STORAGE_EMULATOR_HOST. */
  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  get total(): number {
    return [...this.counts.values()].reduce((sum, count) => sum + count, 0);
  }

  /** The fault for the next request of a kind, and so many after it. */
  failNext(kind: RequestKind, fault: Fault, times = 1): void {
    let left = times;
    const before = this.fault;
    this.fault = (request) => {
      if (request.kind === kind && left > 0) {
        left -= 1;
        return fault;
      }
      return before(request);
    };
  }

  /** From now on no request for such an object is answered. @returns tells whether one has come. */
  stall(objects: RegExp): () => boolean {
    let hasCome = false;
    this.fault = ({ object }) => {
      if (!objects.test(object)) return undefined;
      hasCome = true;
      return { kind: "stall" };
    };
    return () => hasCome;
  }

  /** Nothing fails from now on, and who waits for an answer to no avail finds the connection closed: he would wait a minute. */
  letGo(): void {
    this.fault = () => undefined;
    for (const request of this.#stalled) request.socket.destroy();
    this.#stalled.clear();
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "", "http://fake");
    const { pathname: path, searchParams: query } = url;
    const { method } = request;
    const upload = /^\/upload\/storage\/v1\/b\/([^/]+)\/o$/.exec(path);
    const object = /^\/storage\/v1\/b\/([^/]+)\/o(?:\/([^/]+))?$/.exec(path);
    const bucket = decodeURIComponent(upload?.[1] ?? object?.[1] ?? "");
    const session = query.get("upload_id");
    if (
      session === null &&
      this.token !== undefined &&
      request.headers.authorization !== `Bearer ${this.token}`
    )
      throw new Refusal(401, "Invalid Credentials");
    if (bucket !== this.bucket) throw new Refusal(404, "The specified bucket does not exist.");
    if (upload && session !== null && method === "PUT") return this.#continue(session, request, response);
    if (upload && method === "POST") {
      allow(query, ["uploadType", "ifGenerationMatch", "fields"]);
      const type = query.get("uploadType");
      if (type === "multipart") return this.#insert(query, request, response);
      if (type === "resumable") return this.#open(query, request, response);
      throw new Refusal(400, `uploadType ${type}`);
    }
    if (!object) throw new Refusal(404, `no such method: ${method} ${path}`);
    const [, , encoded] = object;
    if (encoded === undefined) {
      if (method !== "GET") throw new Refusal(405, `${method}`);
      return this.#list(query, request, response);
    }
    const name = decodeURIComponent(encoded);
    if (method === "GET" && query.get("alt") === "media") return this.#read(name, query, request, response);
    if (method === "GET") return this.#head(name, query, request, response);
    if (method === "DELETE") return this.#delete(name, query, request, response);
    throw new Refusal(405, `${method}`);
  }

  /** Counts the request and meets its fate. @returns what is left of the fault to do; undefined where it was answered. */
  async #meet(kind: RequestKind, object: string, request: IncomingMessage, response: ServerResponse) {
    const count = (this.counts.get(kind) ?? 0) + 1;
    this.counts.set(kind, count);
    const fault = this.fault({ kind, object, count, total: this.total });
    if (fault?.kind === "early") {
      response.writeHead(fault.status, { connection: "close" }).end(describeError(fault.status, "a fault"));
      throw new Gone();
    }
    if (fault?.kind === "status") {
      if (fault.retryAfter !== undefined) response.setHeader("retry-after", fault.retryAfter);
      for await (const _ of request); // A server that does not read what is sent has to close the connection.
      throw new Refusal(fault.status, fault.message ?? "a fault");
    }
    if (fault?.kind === "stall") {
      this.#stalled.add(request);
      request.resume();
      throw new Gone();
    }
    if (fault?.kind === "late") await fault.after;
    return fault;
  }

  async #insert(query: URLSearchParams, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const boundary = /^multipart\/related; boundary=(.+)$/.exec(request.headers["content-type"] ?? "")?.[1];
    if (boundary === undefined) throw new Refusal(400, "multipart/related without a boundary");
    const pieces: Buffer[] = [];
    let length = 0;
    // The metadata, and with them the name, come first.
    const body = request[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
    for (let metadata = ""; !/\r\n\r\n[\s\S]*\r\n\r\n/.test(metadata); ) {
      const { value, done } = await body.next();
      if (done) throw new Refusal(400, "no metadata");
      pieces.push(value);
      length += value.length;
      metadata = Buffer.concat(pieces).subarray(0, 65_536).toString();
    }
    const name = /"name":("(?:[^"\\]|\\.)*")/.exec(Buffer.concat(pieces).toString())?.[1] ?? '""';
    const fault = await this.#meet("insert", JSON.parse(name), request, response);
    for (let next = await body.next(); !next.done; next = await body.next()) {
      pieces.push(next.value);
      length += next.value.length;
      if (fault?.kind === "cut" && length >= fault.after) cut(request);
    }
    const whole = Buffer.concat(pieces);
    const [, metadataPart, contentPart] = splitMultipart(whole, boundary);
    const declared = parseResource(metadataPart);
    const content = Buffer.from(contentPart ?? Buffer.of());
    if (fault?.kind === "damage") damage(content);
    this.#checkPrecondition(declared.name, query.get("ifGenerationMatch"));
    const sum = crc32c(content);
    this.#checkSum(declared, sum);
    const stored = this.#put(declared.name, content.length, sum, declared.metadata, [
      { offset: 0, bytes: content },
    ]);
    if (fault?.kind === "lost") cut(request);
    reply(response, 200, select(resourceOf(declared.name, stored, fault), query));
  }

  async #open(query: URLSearchParams, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const declared = parseResource(await readAll(request));
    const fault = await this.#meet("open", declared.name, request, response);
    const precondition = query.get("ifGenerationMatch");
    this.#checkPrecondition(declared.name, precondition);
    const length = request.headers["x-upload-content-length"];
    const id = `session-${++this.#sessionCount}`;
    this.sessions.set(id, {
      object: declared.name,
      size: length === undefined ? undefined : Number(length),
      declared,
      precondition,
      pieces: [],
      kept: 0,
      crc: 0,
      done: undefined,
    });
    if (fault?.kind === "lost") cut(request);
    const fields = query.get("fields");
    response.setHeader(
      "location",
      `${this.url}/upload/storage/v1/b/${this.bucket}/o?uploadType=resumable&upload_id=${id}${fields === null ? "" : `&fields=${fields}`}`,
    );
    reply(response, 200, "");
  }

  async #continue(id: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const query = new URL(request.url ?? "", "http://fake").searchParams;
    const session = this.sessions.get(id);
    const range = /^bytes (?:(\d+)-(\d+)|\*)\/(\d+|\*)$/.exec(request.headers["content-range"] ?? "");
    if (!range) throw new Refusal(400, `Content-Range ${request.headers["content-range"]}`);
    const [, first, last, total] = range;
    const isQuery = first === undefined;
    const fault = await this.#meet(isQuery ? "query" : "put", session?.object ?? "", request, response);
    if (fault?.kind === "forget") this.sessions.delete(id);
    if (!session || fault?.kind === "forget") {
      request.resume();
      throw new Refusal(410, "the upload session is gone");
    }
    const size = total === "*" ? undefined : Number(total);
    if (session.size !== undefined && size !== undefined && size !== session.size)
      throw new Refusal(400, `${size} bytes in all, and ${session.size} when the session was opened`);
    if (!isQuery) {
      const [from, to] = [Number(first), Number(last)];
      if (Number(request.headers["content-length"]) !== to - from + 1)
        throw new Refusal(
          400,
          `Content-Length ${request.headers["content-length"]} of bytes ${from} to ${to}`,
        );
      if (size !== undefined && to >= size) throw new Refusal(400, "the range goes beyond the size");
      if (from > session.kept)
        throw new Refusal(400, `bytes from ${from} on, where ${session.kept} have been kept`);
      if (to + 1 !== size && (to + 1) % STEP !== 0)
        throw new Refusal(400, "a chunk that is not the last must end at a multiple of 256 KiB");
      await this.#receive(session, from, request, fault);
    }
    if (session.done === undefined && session.kept === size) this.#finish(id, session);
    if (fault?.kind === "lost") cut(request);
    if (session.done)
      return reply(response, 200, select(resourceOf(session.object, session.done, fault), query));
    if (session.kept > 0) response.setHeader("range", `bytes=0-${session.kept - 1}`);
    reply(response, 308, "");
  }

  /** Takes a chunk's bytes; those that have been kept before are ignored. */
  async #receive(session: Session, from: number, request: IncomingMessage, fault: Fault | undefined) {
    let at = from;
    let crc = session.crc;
    let { kept } = session;
    const limit = fault?.kind === "partial" ? from + fault.bytes : Number.POSITIVE_INFINITY;
    /** Kept for good: what lies before a multiple of 256 KiB, and the end. */
    const keep = (piece: Buffer, end: number) => {
      crc = crc32c(piece, crc);
      if (this.#keeps(session.size ?? 0)) session.pieces.push({ offset: end - piece.length, bytes: piece });
      kept = end;
      session.kept = kept;
      session.crc = crc;
    };
    let open: Buffer[] = [];
    let openLength = 0;
    const settle = (isEnd: boolean) => {
      const end = kept + openLength;
      const whole = isEnd ? end : Math.floor(end / STEP) * STEP;
      let left = whole - kept;
      if (left <= 0) return;
      const rest: Buffer[] = [];
      for (const piece of open) {
        const taken = Math.min(left, piece.length);
        if (taken > 0) keep(piece.subarray(0, taken), kept + taken);
        if (taken < piece.length) rest.push(piece.subarray(taken));
        left -= taken;
      }
      open = rest;
      openLength = rest.reduce((sum, piece) => sum + piece.length, 0);
    };
    let isDamaged = fault?.kind !== "damage";
    try {
      for await (const piece of request as AsyncIterable<Buffer>) {
        const start = at;
        at += piece.length;
        if (!isDamaged) {
          damage(piece);
          isDamaged = true;
        }
        const fresh = piece.subarray(Math.max(0, kept + openLength - start), Math.max(0, limit - start));
        if (fresh.length > 0) {
          open.push(fresh);
          openLength += fresh.length;
          settle(kept + openLength === session.size);
        }
        if (this.skipTo && this.skipTo.size === session.size && kept < this.skipTo.offset && kept > 0) {
          const skipped = this.skipTo.offset - kept;
          session.crc = combineCrcs(session.crc, zerosCrc(skipped), skipped);
          session.kept = this.skipTo.offset;
          cut(request);
        }
        if (fault?.kind === "cut" && at - from >= fault.after) cut(request);
      }
    } catch (error) {
      throw error instanceof Gone ? error : new Gone(); // The client's own end of the connection.
    }
  }

  #finish(id: string, session: Session): void {
    try {
      this.#checkPrecondition(session.object, session.precondition);
      this.#checkSum(session.declared, session.crc);
    } catch (error) {
      this.sessions.delete(id);
      throw error;
    }
    const { object, kept, crc, declared, pieces } = session;
    session.done = this.#put(object, kept, crc, declared.metadata, pieces);
  }

  async #head(name: string, query: URLSearchParams, request: IncomingMessage, response: ServerResponse) {
    allow(query, ["fields"]);
    const fault = await this.#meet("head", name, request, response);
    const object = this.#get(name);
    if (fault?.kind === "lost") cut(request);
    reply(response, 200, select(resourceOf(name, object, fault), query));
  }

  async #read(name: string, query: URLSearchParams, request: IncomingMessage, response: ServerResponse) {
    allow(query, ["alt"]);
    const fault = await this.#meet("read", name, request, response);
    const object = this.#get(name);
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "");
    if (request.headers.range !== undefined && !range)
      throw new Refusal(400, `Range ${request.headers.range}`);
    const start = Number(range?.[1] ?? 0);
    const end = Math.min(object.size, range ? Number(range[2]) + 1 : object.size);
    if (range && start >= object.size) {
      response.setHeader("content-range", `bytes */${object.size}`);
      throw new Refusal(416, "Requested range not satisfiable");
    }
    if (end - start > 2 ** 31) {
      response.writeHead(200, { "content-length": end - start }).flushHeaders();
      throw new Gone(); // Nobody takes that.
    }
    const content = Buffer.alloc(end - start);
    for (const { offset, bytes } of object.pieces) {
      if (offset < end && offset + bytes.length > start)
        bytes.copy(
          content,
          Math.max(0, offset - start),
          Math.max(0, start - offset),
          Math.max(0, end - offset),
        );
    }
    if (fault?.kind === "damage") damage(content);
    if (range) response.setHeader("content-range", `bytes ${start}-${end - 1}/${object.size}`);
    response.setHeader("x-goog-hash", `crc32c=${encodeCrc(object.crc)}`);
    response.setHeader("content-length", content.length);
    response.statusCode = range ? 206 : 200;
    if (fault?.kind === "lost") cut(request);
    if (fault?.kind === "torn") {
      response.write(content.subarray(0, fault.after), () => request.socket.destroy());
      throw new Gone();
    }
    response.end(content);
  }

  async #list(query: URLSearchParams, request: IncomingMessage, response: ServerResponse): Promise<void> {
    allow(query, ["prefix", "fields", "maxResults", "pageToken", "startOffset", "endOffset"]);
    const prefix = query.get("prefix") ?? "";
    const fault = await this.#meet("list", prefix, request, response);
    const after = query.get("pageToken");
    const [from, to] = [query.get("startOffset"), query.get("endOffset")].map((name) =>
      Buffer.from(name ?? ""),
    );
    const isInRange = (name: Buffer) =>
      Buffer.compare(name, from ?? name) >= 0 && (!to?.length || Buffer.compare(name, to) < 0);
    const names = [...this.objects.keys()]
      .filter(
        (name) =>
          name.startsWith(prefix) && isBetween(name, query.get("startOffset"), query.get("endOffset")),
      )
      .map((name) => Buffer.from(name))
      .filter(isInRange)
      .sort(Buffer.compare)
      .map(String);
    const start = after === null ? 0 : names.indexOf(Buffer.from(after, "base64").toString()) + 1;
    const size = Math.min(1000, Number(query.get("maxResults") ?? 1000));
    const page = names.slice(start, start + size);
    const [fields] = /(?<=^items\()[^)]+/.exec(query.get("fields") ?? "") ?? [];
    const items = page.map((name) =>
      JSON.parse(
        select(resourceOf(name, this.#get(name), fault), new URLSearchParams(fields ? { fields } : {})),
      ),
    );
    const last = page.at(-1);
    const isMore = start + size < names.length && last !== undefined;
    if (fault?.kind === "lost") cut(request);
    reply(
      response,
      200,
      JSON.stringify({
        ...(items.length > 0 && { items }),
        ...(isMore && { nextPageToken: Buffer.from(last).toString("base64") }),
      }),
    );
  }

  async #delete(name: string, query: URLSearchParams, request: IncomingMessage, response: ServerResponse) {
    allow(query, ["ifGenerationMatch"]);
    const fault = await this.#meet("delete", name, request, response);
    this.#get(name);
    this.#checkPrecondition(name, query.get("ifGenerationMatch"));
    this.objects.delete(name);
    if (fault?.kind === "lost") cut(request);
    reply(response, 204, "");
  }

  #keeps(size: number): boolean {
    return typeof this.keep === "number" ? size <= this.keep : this.keep;
  }

  #get(name: string): FakeObject {
    const object = this.objects.get(name);
    if (!object) throw new Refusal(404, `No such object: ${this.bucket}/${name}`);
    return object;
  }

  #put(
    name: string,
    size: number,
    crc: number,
    metadata: Record<string, string> | undefined,
    pieces: readonly Piece[],
  ): FakeObject {
    const bytes = Buffer.byteLength(name);
    if (bytes === 0 || bytes > 1024 || /[\r\n]/.test(name)) throw new Refusal(400, "Invalid object name");
    const generation = String(++this.#generation);
    const object = { size, crc, generation, metadata, pieces: this.#keeps(size) ? pieces : [] };
    this.objects.set(name, object);
    return object;
  }

  #checkPrecondition(name: string, generation: string | null): void {
    if (generation !== null && generation !== (this.objects.get(name)?.generation ?? "0"))
      throw new Refusal(412, "At least one of the pre-conditions you specified did not hold.");
  }

  #checkSum({ crc32c: declared }: { readonly crc32c?: string }, found: number): void {
    if (declared !== undefined && declared !== encodeCrc(found))
      throw new Refusal(
        400,
        `Provided CRC32C "${declared}" doesn't match calculated CRC32C "${encodeCrc(found)}".`,
      );
  }
}

/** An answer that is an error. */
class Refusal extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** There is nobody left to answer. */
class Gone extends Error {}

function cut(request: IncomingMessage): never {
  request.socket.destroy();
  throw new Gone();
}

function damage(bytes: Buffer): void {
  if (bytes.length > 0) bytes[0] = (bytes[0] ?? 0) ^ 1;
}

function reply(response: ServerResponse, status: number, body: string): void {
  if (response.headersSent || response.destroyed) return;
  response.statusCode = status;
  if (body !== "") response.setHeader("content-type", "application/json; charset=UTF-8");
  response.end(body);
}

function describeError(code: number, message: string): string {
  const reason = { 401: "authError", 404: "notFound", 412: "conditionNotMet", 429: "rateLimitExceeded" }[
    code
  ];
  return JSON.stringify({
    error: { code, message, errors: [{ message, domain: "global", reason: reason ?? "invalid" }] },
  });
}

function allow(query: URLSearchParams, names: readonly string[]): void {
  for (const name of query.keys())
    if (!names.includes(name)) throw new Refusal(400, `Unknown name "${name}"`);
}

/** At or after the one, before the other, by their UTF-8 bytes. */
function isBetween(name: string, start: string | null, end: string | null): boolean {
  const bytes = Buffer.from(name);
  return (
    (start === null || Buffer.compare(bytes, Buffer.from(start)) >= 0) &&
    (end === null || end === "" || Buffer.compare(bytes, Buffer.from(end)) < 0)
  );
}

async function readAll(request: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of request as AsyncIterable<Buffer>) pieces.push(piece);
  return Buffer.concat(pieces);
}

function splitMultipart(body: Buffer, boundary: string): Buffer[] {
  const marker = Buffer.from(`--${boundary}`);
  const parts: Buffer[] = [];
  let start = 0;
  for (let at = body.indexOf(marker); at >= 0; at = body.indexOf(marker, at + marker.length)) {
    const part = body.subarray(start, at);
    const content = part.indexOf("\r\n\r\n");
    parts.push(content < 0 ? part : part.subarray(content + 4, part.length - 2));
    start = at + marker.length;
  }
  if (parts.length !== 3) throw new Refusal(400, `${parts.length - 1} parts instead of 2`);
  return parts;
}

function parseResource(bytes: Buffer | undefined): {
  name: string;
  crc32c?: string;
  metadata?: Record<string, string>;
} {
  try {
    return JSON.parse(String(bytes));
  } catch {
    throw new Refusal(400, "Parse Error");
  }
}

function encodeCrc(crc: number): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(crc >>> 0);
  return bytes.toString("base64");
}

/** An object resource; more of it than the driver asks for. */
function resourceOf(name: string, object: FakeObject, fault: Fault | undefined): Record<string, unknown> {
  const { size, crc, generation, metadata } = object;
  return {
    kind: "storage#object",
    name,
    size: String(size),
    generation,
    metageneration: "1",
    crc32c: encodeCrc(fault?.kind === "lie" ? crc ^ 1 : crc),
    ...(metadata && { metadata }),
  };
}

/** The fields that `fields` names, as the service does: nothing else is sent. */
function select(resource: Record<string, unknown>, query: URLSearchParams): string {
  const fields = query.get("fields");
  if (fields === null) return JSON.stringify(resource);
  if (!FIELDS.test(fields)) throw new Refusal(400, `Invalid field selection ${fields}`);
  return JSON.stringify(
    Object.fromEntries(Object.entries(resource).filter(([name]) => fields.split(",").includes(name))),
  );
}

/** CRC32C of so many zeros, by doubling. */
export function zerosCrc(count: number): number {
  let crc = 0;
  let block = crc32c(Buffer.alloc(1));
  for (let left = count, length = 1; left > 0; left = Math.floor(left / 2), length *= 2) {
    if (left % 2 === 1) crc = combineCrcs(crc, block, length);
    block = combineCrcs(block, block, length);
  }
  return crc;
}
