// A small S3 server in memory for tests: path-style addresses, the calls that a store needs, and every condition, checksum and bound
// that the Amazon S3 API Reference states for them. It can be told to lack what servers of other makers lack, and to answer with errors.
// (Signatures are not checked, only that there is one: the tests against versitygw do that.)

import { createHash, randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { crc32c } from "@node-rs/crc32";
import { combineCrcs, formatCrc } from "../src/base/crc.js";
import { compareNames } from "../src/store/names.js";

/** How a server may differ from Amazon's. */
export interface FakeS3Options {
  /** Keys a page. Default 1,000. */
  readonly pageSize?: number;
  /** Without: checksum headers are ignored, as by old servers. */
  readonly keepsCrc?: boolean;
  /** Without: If-Match on DELETE is ignored. */
  readonly deletesByVersion?: boolean;
  /** Without: If-None-Match is ignored. */
  readonly createsOnly?: boolean;
  /** Where the bucket lies: requests that are signed for another region are sent there. Default: anywhere. */
  readonly region?: string;
  /** Bytes that a part must have, unless it is the last. Default 5 MiB, as Amazon's. */
  readonly minPartBytes?: number;
}

/** A request, for those who order a fault. */
export interface FakeRequest {
  readonly method: string;
  readonly key: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage["headers"];
}

/** An answer instead of the right one. */
export interface FakeFault {
  readonly status: number;
  readonly code: string;
  /** The connection is closed as soon as the answer has gone, and the body not read: what servers do that refuse early. */
  readonly isEarly?: boolean;
}

interface Order {
  readonly concerns: (request: FakeRequest) => boolean;
  readonly fault?: FakeFault;
  readonly before?: () => void;
}
interface FakeObject {
  readonly bytes: Buffer;
  /** Where it is not that of the bytes: they were dropped. */
  readonly size?: number;
  readonly etag: string;
  readonly metadata: Readonly<Record<string, string>>;
  /** Base64, where it is kept. */
  readonly crc32c: string | undefined;
}
/** What came with a request. */
interface FakeBody {
  /** Empty where they were dropped. */
  readonly bytes: Buffer;
  readonly size: number;
  /** The CRC32C. */
  readonly sum: number;
}
interface FakePart extends FakeBody {
  readonly object: FakeObject;
}
interface FakeUpload {
  readonly id: string;
  readonly key: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly parts: Map<number, FakePart>;
}

class Refusal extends Error {
  readonly fault: FakeFault;
  constructor(status: number, code: string) {
    super(code);
    this.fault = { status, code };
  }
}

/** A server with one bucket. */
export class FakeS3 {
  readonly bucket = "bucket";
  readonly url: string;
  readonly objects = new Map<string, FakeObject>();
  readonly uploads = new Map<string, FakeUpload>();
  /** What was asked, such as `PUT a/b?partNumber=1`. */
  readonly requests: string[] = [];
  /** Whether bytes are kept; otherwise they are summed (CRC32C alone) and dropped, and read back as zeros. */
  keep = true;
  readonly #server: ReturnType<typeof createServer>;
  readonly #options: Required<Omit<FakeS3Options, "region">> & Pick<FakeS3Options, "region">;
  readonly #orders: Order[] = [];

  private constructor(server: ReturnType<typeof createServer>, options: FakeS3Options) {
    this.#server = server;
    this.#options = {
      pageSize: 1000,
      keepsCrc: true,
      deletesByVersion: true,
      createsOnly: true,
      minPartBytes: 5 << 20,
      ...options,
    };
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    server.on("request", (request: IncomingMessage, response: ServerResponse) => {
      this.#answer(request, response).catch((error: unknown) => {
        if (error instanceof Refusal) refuse(request, response, error.fault);
        else request.socket.destroy(); // The client is gone.
      });
    });
  }

  static async start(options: FakeS3Options = {}): Promise<FakeS3> {
    const server = createServer({ keepAliveTimeout: 60_000 });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return new FakeS3(server, options);
  }

  /** The variables by which a client finds it. */
  get env(): Readonly<Record<string, string>> {
    return {
      AWS_ENDPOINT_URL: this.url,
      AWS_ACCESS_KEY_ID: "AKIAFAKEFAKEFAKEFAKE",
      AWS_SECRET_ACCESS_KEY: "a-secret-that-nobody-may-see",
      AWS_REGION: "us-east-1",
    };
  }

  /** The next request of that kind is answered so. */
  failNext(concerns: (request: FakeRequest) => boolean, fault: FakeFault): void {
    this.#orders.push({ concerns, fault });
  }

  /** Something happens just before the next request of that kind is carried out. */
  beforeNext(concerns: (request: FakeRequest) => boolean, before: () => void): void {
    this.#orders.push({ concerns, before });
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", "http://fake");
    const [, bucket = "", rest = ""] = /^\/([^/]*)\/?(.*)$/.exec(url.pathname) ?? [];
    const key = decodeURIComponent(rest);
    const { headers, method = "GET" } = request;
    const query = url.searchParams;
    query.delete("x-id");
    this.requests.push(`${method} ${key}${query.size > 0 ? `?${query}` : ""}`);
    const at = this.#orders.findIndex(({ concerns }) => concerns({ method, key, query, headers }));
    const [{ fault, before } = {} as Partial<Order>] = at < 0 ? [] : this.#orders.splice(at, 1);
    if (fault?.isEarly) {
      refuse(request, response, fault);
      return;
    }
    const body = await readBody(request, this.keep || method !== "PUT");
    if (fault) {
      refuse(request, response, fault);
      return;
    }
    before?.();
    if (!headers.authorization?.startsWith("AWS4-HMAC-SHA256 Credential="))
      throw new Refusal(403, "AccessDenied");
    const { region } = this.#options;
    if (region !== undefined && !headers.authorization.includes(`/${region}/s3/aws4_request`)) {
      response.setHeader("x-amz-bucket-region", region);
      throw new Refusal(301, "PermanentRedirect");
    }
    const sha = headers["x-amz-content-sha256"];
    if (sha !== "UNSIGNED-PAYLOAD" && sha !== createHash("sha256").update(body.bytes).digest("hex"))
      throw new Refusal(400, "XAmzContentSHA256Mismatch");
    if (bucket !== this.bucket) throw new Refusal(404, "NoSuchBucket");
    const call = { method, key, query, headers };
    if (key === "") this.#answerBucket(call, response);
    else if (query.has("uploads") || query.has("uploadId")) this.#answerUpload(call, body, response);
    else this.#answerObject(call, body, response);
  }

  #answerBucket({ query, method }: FakeRequest, response: ServerResponse): void {
    if (method !== "GET") throw new Refusal(501, "NotImplemented");
    if (query.has("uploads")) this.#listUploads(query, response);
    else if (query.get("list-type") === "2") this.#list(query, response);
    else throw new Refusal(501, "NotImplemented");
  }

  #list(query: URLSearchParams, response: ServerResponse): void {
    const prefix = query.get("prefix") ?? "";
    const token = query.get("continuation-token");
    const after = token === null ? query.get("start-after") : Buffer.from(token, "base64url").toString();
    const keys = [...this.objects.keys()]
      .filter((key) => key.startsWith(prefix) && (after === null || compareNames(key, after) > 0))
      .sort(compareNames);
    const page = keys.slice(0, this.#options.pageSize);
    const isMore = keys.length > page.length;
    const encode = encoder(query);
    const entries = page.map((key) => {
      const { etag, bytes, size = bytes.length } = this.#object(key);
      return `<Contents><Key>${encode(key)}</Key><Size>${size}</Size><ETag>&quot;${etag}&quot;</ETag></Contents>`;
    });
    const next = Buffer.from(page.at(-1) ?? "").toString("base64url");
    sendXml(
      response,
      "ListBucketResult",
      `<IsTruncated>${isMore}</IsTruncated>${encodingOf(query)}${entries.join("")}` +
        (isMore ? `<NextContinuationToken>${next}</NextContinuationToken>` : ""),
    );
  }

  #listUploads(query: URLSearchParams, response: ServerResponse): void {
    const prefix = query.get("prefix") ?? "";
    const marker = [query.get("key-marker") ?? "", query.get("upload-id-marker") ?? ""] as const;
    const isAfter = (upload: FakeUpload) => {
      const order = compareNames(upload.key, marker[0]);
      return order > 0 || (order === 0 && marker[1] !== "" && upload.id > marker[1]);
    };
    const all = [...this.uploads.values()]
      .filter((upload) => upload.key.startsWith(prefix) && isAfter(upload))
      .sort((a, b) => compareNames(a.key, b.key) || (a.id < b.id ? -1 : 1));
    const page = all.slice(0, this.#options.pageSize);
    const encode = encoder(query);
    const entries = page.map(
      ({ key, id }) => `<Upload><Key>${encode(key)}</Key><UploadId>${id}</UploadId></Upload>`,
    );
    const last = page.at(-1);
    sendXml(
      response,
      "ListMultipartUploadsResult",
      `<IsTruncated>${all.length > page.length}</IsTruncated>${encodingOf(query)}${entries.join("")}` +
        (last
          ? `<NextKeyMarker>${encode(last.key)}</NextKeyMarker><NextUploadIdMarker>${last.id}</NextUploadIdMarker>`
          : ""),
    );
  }

  #answerObject(call: FakeRequest, body: FakeBody, response: ServerResponse): void {
    const { key, headers } = call;
    switch (call.method) {
      case "PUT": {
        const { object } = this.#receive(body, headers, metadataIn(headers));
        this.#create(call, object);
        response.writeHead(200, { etag: `"${object.etag}"`, ...crcHeader(object) }).end();
        return;
      }
      case "HEAD":
      case "GET":
        this.#read(call, response);
        return;
      case "DELETE": {
        const match = headers["if-match"];
        const there = this.objects.get(key);
        if (this.#options.deletesByVersion && match !== undefined && there && match !== `"${there.etag}"`)
          throw new Refusal(412, "PreconditionFailed");
        this.objects.delete(key);
        response.writeHead(204).end();
        return;
      }
      default:
        throw new Refusal(501, "NotImplemented");
    }
  }

  #read({ key, method, headers }: FakeRequest, response: ServerResponse): void {
    const object = this.#object(key);
    const { bytes, size = bytes.length } = object;
    const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? "") ?? [];
    const start = Number(from ?? 0);
    const end = Math.min(size, to === undefined ? size : Number(to) + 1);
    if (from !== undefined && start >= size) throw new Refusal(416, "InvalidRange");
    response.writeHead(from === undefined ? 200 : 206, {
      etag: `"${object.etag}"`,
      "content-length": end - start,
      ...(from !== undefined && { "content-range": `bytes ${start}-${end - 1}/${size}` }),
      ...(headers["x-amz-checksum-mode"] === "ENABLED" && crcHeader(object)),
      ...Object.fromEntries(
        Object.entries(object.metadata).map(([name, value]) => [`x-amz-meta-${name}`, value]),
      ),
    });
    const content = bytes.length === size ? bytes.subarray(start, end) : Buffer.alloc(end - start);
    response.end(method === "HEAD" ? undefined : content);
  }

  #answerUpload(call: FakeRequest, body: FakeBody, response: ServerResponse): void {
    const { method, key, query, headers } = call;
    if (method === "POST" && query.has("uploads")) {
      const id = randomUUID();
      this.uploads.set(id, { id, key, metadata: metadataIn(headers), parts: new Map() });
      sendXml(response, "InitiateMultipartUploadResult", `<UploadId>${id}</UploadId>`);
      return;
    }
    const upload = this.uploads.get(query.get("uploadId") ?? "");
    if (upload?.key !== key) throw new Refusal(404, "NoSuchUpload");
    if (method === "PUT") {
      const number = Number(query.get("partNumber"));
      if (!(number >= 1 && number <= 10_000)) throw new Refusal(400, "InvalidArgument");
      const part = this.#receive(body, headers, {});
      upload.parts.set(number, part);
      response.writeHead(200, { etag: `"${part.object.etag}"`, ...crcHeader(part.object) }).end();
    } else if (method === "DELETE") {
      this.uploads.delete(upload.id);
      response.writeHead(204).end();
    } else if (method === "POST") {
      const object = this.#join(upload, body.bytes.toString(), headers);
      this.#create(call, object);
      this.uploads.delete(upload.id);
      sendXml(response, "CompleteMultipartUploadResult", `<ETag>&quot;${object.etag}&quot;</ETag>`);
    } else {
      throw new Refusal(501, "NotImplemented");
    }
  }

  #join(upload: FakeUpload, xml: string, headers: IncomingMessage["headers"]): FakeObject {
    const named = [...xml.matchAll(/<Part>(.*?)<\/Part>/gs)].map(([, part = ""]) => ({
      number: Number(/<PartNumber>(\d+)</.exec(part)?.[1]),
      etag: (/<ETag>(.*?)</.exec(part)?.[1] ?? "").replace(/&quot;|"/g, ""),
      crc: /<ChecksumCRC32C>(.*?)</.exec(part)?.[1],
    }));
    if (named.length === 0) throw new Refusal(400, "MalformedXML");
    if (named.some(({ number }, i) => i > 0 && number <= (named[i - 1]?.number ?? 0)))
      throw new Refusal(400, "InvalidPartOrder");
    const parts = named.map(({ number, etag, crc }) => {
      const part = upload.parts.get(number);
      if (part?.object.etag !== etag || (this.#options.keepsCrc && part.object.crc32c !== crc))
        throw new Refusal(400, "InvalidPart");
      return part;
    });
    if (parts.slice(0, -1).some((part) => part.size < this.#options.minPartBytes))
      throw new Refusal(400, "EntityTooSmall");
    const size = parts.reduce((total, part) => total + part.size, 0);
    const announced = headers["x-amz-mp-object-size"];
    if (announced !== undefined && Number(announced) !== size) throw new Refusal(400, "InvalidRequest");
    const sum = parts.reduce((crc, part) => combineCrcs(crc, part.sum, part.size), 0);
    const wanted = headers["x-amz-checksum-crc32c"];
    if (this.#options.keepsCrc && wanted !== undefined && wanted !== base64Of(sum))
      throw new Refusal(400, "BadDigest");
    const digests = Buffer.concat(parts.map(({ object }) => Buffer.from(object.etag, "hex")));
    const bytes = Buffer.concat(parts.map((part) => part.bytes));
    return {
      bytes,
      ...(bytes.length < size && { size }),
      etag: `${createHash("md5").update(digests).digest("hex")}-${parts.length}`,
      metadata: upload.metadata,
      crc32c: this.#options.keepsCrc ? base64Of(sum) : undefined,
    };
  }

  /** Makes the object visible, if the condition is met. */
  #create({ key, headers }: FakeRequest, object: FakeObject): void {
    if (this.#options.createsOnly && headers["if-none-match"] === "*" && this.objects.has(key))
      throw new Refusal(412, "PreconditionFailed");
    this.objects.set(key, object);
  }

  #receive(
    body: FakeBody,
    headers: IncomingMessage["headers"],
    metadata: Readonly<Record<string, string>>,
  ): FakePart {
    const { bytes, size, sum } = body;
    const crc = base64Of(sum);
    const wanted = headers["x-amz-checksum-crc32c"];
    if (this.#options.keepsCrc && wanted !== undefined && wanted !== crc) throw new Refusal(400, "BadDigest");
    const kept = this.#options.keepsCrc && wanted !== undefined ? crc : undefined;
    // Of dropped bytes there is no MD5; the real service's ETag is none either where the bucket has a KMS key.
    const isDropped = bytes.length < size;
    const etag = isDropped ? formatCrc(sum) : createHash("md5").update(bytes).digest("hex");
    return { ...body, object: { bytes, ...(isDropped && { size }), etag, metadata, crc32c: kept } };
  }

  #object(key: string): FakeObject {
    const object = this.objects.get(key);
    if (object) return object;
    throw new Refusal(404, "NoSuchKey");
  }
}

/** The whole body, as long as was announced. @param keep whether its bytes are wanted. */
async function readBody(request: IncomingMessage, keep: boolean): Promise<FakeBody> {
  const pieces: Buffer[] = [];
  let [size, sum] = [0, 0];
  for await (const piece of request as AsyncIterable<Buffer>) {
    size += piece.length;
    sum = crc32c(piece, sum);
    if (keep) pieces.push(piece);
  }
  const announced = request.headers["content-length"];
  if (announced !== undefined && Number(announced) !== size) throw new Refusal(400, "IncompleteBody");
  return { bytes: Buffer.concat(pieces), size, sum };
}

function refuse(
  request: IncomingMessage,
  response: ServerResponse,
  { status, code, isEarly }: FakeFault,
): void {
  const body =
    request.method === "HEAD" ? "" : `<Error><Code>${code}</Code><Message>as ordered</Message></Error>`;
  response.writeHead(status, { "content-type": "application/xml", "content-length": body.length });
  if (!isEarly) response.end(body);
  else response.end(body, () => request.socket.resetAndDestroy());
}

function sendXml(response: ServerResponse, root: string, content: string): void {
  const body = `<?xml version="1.0" encoding="UTF-8"?><${root} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${content}</${root}>`;
  response
    .writeHead(200, { "content-type": "application/xml", "content-length": Buffer.byteLength(body) })
    .end(body);
}

function encoder(query: URLSearchParams): (key: string) => string {
  if (query.get("encoding-type") === "url") return (key) => encodeURIComponent(key).replaceAll("%20", "+");
  return (key) => key.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}

function encodingOf(query: URLSearchParams): string {
  return query.get("encoding-type") === "url" ? "<EncodingType>url</EncodingType>" : "";
}

function metadataIn(headers: IncomingMessage["headers"]): Record<string, string> {
  const found: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers))
    if (name.startsWith("x-amz-meta-")) found[name.slice("x-amz-meta-".length)] = String(value);
  return found;
}

function crcHeader({ crc32c }: FakeObject): Record<string, string> {
  return crc32c === undefined
    ? {}
    : { "x-amz-checksum-crc32c": crc32c, "x-amz-checksum-type": "FULL_OBJECT" };
}

function base64Of(crc: number): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(crc);
  return bytes.toString("base64");
}
