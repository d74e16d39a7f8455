// The connection to S3: Amazon's SDK finds credentials, writes and signs the requests and understands the replies; http.ts sends them, as it
// does for GCS. What else the SDK would do by itself is switched off: retries (retry.ts decides), checksums in JavaScript (ours come from
// native code), hashing of bodies for the signature, and waiting for '100 Continue'. Loaded when first needed.

import { Readable } from "node:stream";
import type { S3, S3ClientConfig } from "@aws-sdk/client-s3";
import { SluiceError } from "../base/errors.js";
import { HttpClient, type HttpReply, type HttpRequest, type Watch } from "./http.js";
import { RequestFailure, safeMessage } from "./retry.js";
import { fromSdk, S3Failure } from "./s3-errors.js";
import type { StoreStatistics } from "./statistics.js";

/** How long a service is awaited that gives credentials for a role. */
const CREDENTIALS_MS = 30_000;

/** What goes with each call of the SDK, and through it to the sender. */
export interface CallOptions {
  readonly abortSignal: AbortSignal;
  readonly watch: Watch;
  /** As {@link HttpRequest.replyBytes}. */
  readonly replyBytes?: number;
  /** Gets the content of a reply to GetObject: the SDK would hand it on as a stream. */
  readonly onContent?: (bytes: Uint8Array) => void;
}

/** A call of the SDK. */
export type Call<T> = (s3: S3, options: CallOptions) => Promise<T>;

/** Calls to S3 whose errors are in the terms of {@link fromSdk}. */
export class S3Connection {
  readonly #http: HttpClient;
  #s3: Promise<S3> | undefined;
  /** The bucket's region, where it has told that it is another than was configured. */
  #region: string | undefined;
  #hasWorked = false;

  constructor(statistics: StoreStatistics) {
    this.#http = new HttpClient(statistics);
  }

  /**
   * Makes a call. @param run may be called twice: where the bucket lies in another region than was thought.
   * @throws S3Failure; SluiceError `config` where there are no credentials; as {@link HttpClient.send}.
   */
  async call<T>(watch: Watch, run: Call<T>): Promise<T> {
    // The SDK could follow a bucket to its region, but not where the refusal comes without a body, as to HEAD.
    const region = this.#region;
    try {
      return await this.#try(watch, run);
    } catch (error) {
      const told = error instanceof S3Failure ? error.region : undefined;
      if (told === undefined || told === region) throw error;
      this.#region = told;
      return await this.#try(watch, run);
    }
  }

  /** A call whose reply is an object's content, of at most so many bytes. */
  async read<T>(
    watch: Watch,
    replyBytes: number,
    run: Call<T>,
  ): Promise<{ readonly reply: T; readonly bytes: Uint8Array }> {
    let bytes: Uint8Array = new Uint8Array();
    const onContent = (content: Uint8Array) => {
      bytes = new Uint8Array(content.buffer, content.byteOffset, content.length);
    };
    const reply = await this.call(watch, (s3, options) => run(s3, { ...options, replyBytes, onContent }));
    return { reply, bytes };
  }

  async #try<T>(watch: Watch, run: Call<T>): Promise<T> {
    this.#s3 ??= connect(this.#http, () => this.#region);
    const s3 = await this.#s3;
    watch.signal.throwIfAborted();
    try {
      const reply = await run(s3, { abortSignal: watch.signal, watch });
      this.#hasWorked = true;
      return reply;
    } catch (error) {
      if (error instanceof Error && error.name === "CredentialsProviderError")
        throw this.#withoutCredentials(error);
      throw fromSdk(error);
    }
  }

  /** No credentials at the start are a mistake; later it is their provider that is away for a moment. */
  #withoutCredentials(error: Error): Error {
    if (this.#hasWorked) return Object.assign(new Error(safeMessage(error)), { code: "ECONNABORTED" });
    return new SluiceError("config", "there are no credentials for S3", {
      found: safeMessage(error),
      fix: "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run where a role gives them.",
    });
  }
}

/** A request as the SDK has signed it. */
interface SignedRequest {
  readonly method: string;
  readonly protocol: string;
  readonly hostname: string;
  readonly port?: number;
  readonly path: string;
  readonly query?: Readonly<Record<string, string | readonly string[] | null | undefined>>;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

/** What the SDK takes for its HTTP client (`HttpHandler` of @smithy/types). */
function senderBy(http: HttpClient) {
  return {
    handle: async (signed: SignedRequest, { watch, replyBytes, onContent }: Partial<CallOptions>) => {
      const body = bytesOf(signed.body);
      const request: HttpRequest = {
        method: signed.method as HttpRequest["method"],
        url: urlOf(signed),
        headers: signed.headers,
        ...(body && { body: { length: body.length, write: (send) => send(body) } }),
        ...(replyBytes !== undefined && { replyBytes }),
      };
      const {
        status,
        headers,
        body: content,
      } = await (watch ? http.send(request, watch) : askForCredentials(http, request));
      const isContent = onContent !== undefined && status < 300;
      if (isContent) onContent(content);
      return { response: { statusCode: status, headers, body: isContent ? Readable.from([]) : content } };
    },
    updateHttpClientConfig: ignore,
    httpHandlerConfigs: () => ({}),
  };
}

/** A request that is none of ours: the SDK asks for a role's credentials, by the same client. */
async function askForCredentials(http: HttpClient, request: HttpRequest): Promise<HttpReply> {
  const signal = AbortSignal.timeout(CREDENTIALS_MS);
  try {
    return await http.send(request, { signal, isAlive: ignore });
  } catch (error) {
    throw signal.aborted ? new RequestFailure(`${request.url.host} gave no credentials in time`) : error;
  }
}

/** The SDK has encoded the path already. */
function urlOf({ protocol, hostname, port, path, query = {} }: SignedRequest): URL {
  const names = Object.keys(query).sort();
  const pairs = names.flatMap((name) =>
    [query[name]].flat().map((one) => `${encodeURIComponent(name)}=${encodeURIComponent(one ?? "")}`),
  );
  const search = pairs.length > 0 ? `?${pairs.join("&")}` : "";
  return new URL(`${protocol}//${hostname}${port === undefined ? "" : `:${port}`}${path}${search}`);
}

/** The body of a request: bytes of ours, or the SDK's XML. */
function bytesOf(body: unknown): Uint8Array | undefined {
  if (body === undefined || body instanceof Uint8Array) return body;
  if (typeof body === "string") return Buffer.from(body);
  throw new SluiceError("bug", "a request to S3 has a body of an unknown kind", { found: typeof body });
}

/** @param told the region that the bucket has told, if it has. */
async function connect(http: HttpClient, told: () => string | undefined): Promise<S3> {
  // The SDK warns once a process that its coming versions need a later Node; this one is pinned, and runs on Node 20.
  process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= "true";
  const sdk = await import("@aws-sdk/client-s3");
  const config = {
    // Nothing of it may reach the console.
    logger: { debug: ignore, info: ignore, warn: ignore, error: ignore },
    maxAttempts: 1,
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
    expectContinueHeader: false,
    requestHandler: senderBy(http),
  } satisfies S3ClientConfig;
  const first = new sdk.S3(config);
  // Buckets of a server of one's own are rarely host names.
  const endpoint = await configuredEndpoint(first);
  const configured = await first.config.region().catch(() => process.env.AWS_DEFAULT_REGION || "us-east-1");
  first.destroy();
  const s3 = new sdk.S3({
    ...config,
    region: async () => told() ?? configured,
    ...(endpoint !== undefined && { endpoint, forcePathStyle: true }),
  });
  s3.middlewareStack.add(
    (next) => (args) => {
      const request = args.request as { readonly body?: unknown; readonly headers: Record<string, string> };
      if (request.body instanceof Uint8Array) request.headers["x-amz-content-sha256"] = "UNSIGNED-PAYLOAD";
      return next(args);
    },
    { step: "build", name: "unsignedPayload" },
  );
  return s3;
}

function ignore(): void {}

/** AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, or the profile's `endpoint_url`, by the SDK's own rules; it offers no public way to ask. */
async function configuredEndpoint(s3: S3): Promise<string | undefined> {
  const { serviceConfiguredEndpoint } = s3.config as {
    serviceConfiguredEndpoint?: () => Promise<string | undefined>;
  };
  const url = await serviceConfiguredEndpoint?.();
  if (url === undefined || URL.canParse(url)) return url;
  throw new SluiceError("config", "AWS_ENDPOINT_URL or the profile's endpoint_url is no URL", {
    expected: "a URL such as http://127.0.0.1:9000",
  });
}
