// The connection to S3 by Amazon's SDK, with what the SDK would do by itself switched off: retries (retry.ts decides), checksums in
// JavaScript (ours come from native code), hashing of bodies for the signature, and waiting for '100 Continue'. Loaded when first needed.

import { Readable } from "node:stream";
import type { S3, S3ClientConfig } from "@aws-sdk/client-s3";
import { SluiceError } from "../base/errors.js";
import { safeMessage } from "./retry.js";
import { fromSdk } from "./s3-errors.js";

const CONNECTIONS = 64;
const CONNECT_MS = 10_000;
const SLICE_BYTES = 1 << 20;

/** Calls to S3 whose errors are in the terms of {@link fromSdk}. */
export class S3Connection {
  #s3: Promise<S3> | undefined;
  #hasWorked = false;

  /** Makes a call. @throws S3Failure; SluiceError `config` where there are no credentials; system errors. */
  async call<T>(
    signal: AbortSignal | undefined,
    run: (s3: S3, options: { abortSignal: AbortSignal }) => Promise<T>,
  ): Promise<T> {
    this.#s3 ??= connect();
    const ended = new AbortController();
    const stop = () => ended.abort(signal?.reason);
    signal?.throwIfAborted();
    signal?.addEventListener("abort", stop, { once: true });
    try {
      const reply = await run(await this.#s3, { abortSignal: ended.signal });
      this.#hasWorked = true;
      return reply;
    } catch (error) {
      ended.abort(); // A server may have refused before it took the body: the rest must not be sent.
      if (error instanceof Error && error.name === "CredentialsProviderError")
        throw this.#withoutCredentials(error);
      throw fromSdk(error);
    } finally {
      signal?.removeEventListener("abort", stop);
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

/** A body for one attempt: it tells when some of it has gone. @param onSent gets the bytes of each slice. */
export function bodyOf(bytes: Uint8Array, onSent: (bytes: number) => void): Readable {
  function* slices() {
    for (let at = 0; at < bytes.length; at += SLICE_BYTES) {
      const slice = bytes.subarray(at, at + SLICE_BYTES);
      yield slice;
      onSent(slice.length);
    }
  }
  return Readable.from(slices(), { highWaterMark: 1 });
}

async function connect(): Promise<S3> {
  // The SDK warns once a process that its coming versions need a later Node; this one is pinned, and runs on Node 20.
  process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= "true";
  const sdk = await import("@aws-sdk/client-s3");
  const config = {
    // It would warn on the console of streams that it cannot send again: we can.
    logger: { debug: ignore, info: ignore, warn: ignore, error: ignore },
    maxAttempts: 1,
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
    expectContinueHeader: false,
    followRegionRedirects: true,
    requestHandler: {
      httpAgent: { keepAlive: true, maxSockets: CONNECTIONS },
      httpsAgent: { keepAlive: true, maxSockets: CONNECTIONS },
      connectionTimeout: CONNECT_MS,
      // Many requests may wait for a connection: that is no reason to write a warning to the log.
      socketAcquisitionWarningTimeout: 0x7fff_ffff,
    },
  } satisfies S3ClientConfig;
  const first = new sdk.S3(config);
  // Buckets of a server of one's own are rarely host names.
  const endpoint = await configuredEndpoint(first);
  const region = await first.config.region().catch(() => process.env.AWS_DEFAULT_REGION || "us-east-1");
  first.destroy();
  const s3 = new sdk.S3({
    ...config,
    region,
    ...(endpoint !== undefined && { endpoint, forcePathStyle: true }),
  });
  s3.middlewareStack.add(
    (next) => (args) => {
      const request = args.request as { readonly body?: unknown; readonly headers: Record<string, string> };
      if (request.body instanceof Readable) request.headers["x-amz-content-sha256"] = "UNSIGNED-PAYLOAD";
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
