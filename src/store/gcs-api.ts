// Google Cloud Storage's JSON API over HTTP (https://cloud.google.com/storage/docs/json_api), with the credentials and the
// endpoint of Google's own client. The client's own requests are not used: they are tried again without a word where they must
// not be, cannot be aborted, and say nothing of a stall.

import { z } from "zod";
import { isSluiceError, SluiceError } from "../base/errors.js";
import { HttpClient, type HttpReply, type HttpRequest } from "./http.js";
import { type Attempt, asFailure, RequestFailure, retryAfterMs, safeMessage } from "./retry.js";
import type { StoreStatistics } from "./statistics.js";

/** Reasons in a 403 that mean 'later' (as Google's clients have them). */
const LATER = new Set(["rateLimitExceeded", "userRateLimitExceeded"]);

/** gcloud's own variable for another endpoint, such as one of Private Service Connect. */
const ENDPOINT_VARIABLE = "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE";

const errorSchema = z.object({
  error: z.object({
    message: z.string().optional(),
    errors: z.array(z.object({ reason: z.string().optional() })).optional(),
  }),
});

/** A request to the API: where, below the endpoint, and what. */
export interface ApiRequest extends Omit<HttpRequest, "url"> {
  /** Such as `/storage/v1/b/bucket/o`. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
}

/** The API of one endpoint. */
export class GcsApi {
  readonly #http: HttpClient;
  readonly #emulator: string | undefined;
  #access: Promise<Access> | undefined;

  /** @param emulator its URL; without one, STORAGE_EMULATOR_HOST names it, or Google's own service is meant. */
  constructor(statistics: StoreStatistics, emulator = process.env.STORAGE_EMULATOR_HOST || undefined) {
    this.#http = new HttpClient(statistics);
    this.#emulator = emulator;
  }

  /**
   * Makes a request with credentials. @returns a reply that is no failure: also those of the statuses that the caller expects.
   * @throws RequestFailure for any other status; as {@link HttpClient.send}; SluiceError `config` where there are no credentials.
   */
  async call(request: ApiRequest, attempt: Attempt, expected: readonly number[] = []): Promise<HttpReply> {
    const access = await this.#open();
    const url = new URL(request.path, access.endpoint);
    for (const [name, value] of Object.entries(request.query ?? {})) url.searchParams.set(name, value);
    const headers = { ...(await access.headers()), ...request.headers };
    const reply = await this.#http.send({ ...request, url, headers }, attempt);
    if (reply.status === 401) {
      // A token may have been revoked before its time: with a new one the request may succeed, once.
      this.#access = undefined;
      throw failureOf(reply, attempt.number === 1);
    }
    if (reply.status < 300 || expected.includes(reply.status)) return reply;
    throw failureOf(reply);
  }

  /**
   * Makes a request to an upload session, whose URI is all the permission that it needs: no credential goes with it.
   * @param uri as the service gave it. An emulator may call itself by a name that is not the one it was reached by: then that counts.
   */
  async callSession(
    uri: string,
    request: Omit<HttpRequest, "url" | "method">,
    attempt: Attempt,
    expected: readonly number[],
  ): Promise<HttpReply> {
    const { endpoint, isEmulator } = await this.#open();
    const url = new URL(uri, endpoint);
    if (isEmulator)
      Object.assign(url, { protocol: new URL(endpoint).protocol, host: new URL(endpoint).host });
    const reply = await this.#http.send({ ...request, method: "PUT", url }, attempt);
    if (reply.status < 300 || expected.includes(reply.status)) return reply;
    throw failureOf(reply);
  }

  #open(): Promise<Access> {
    this.#access ??= openAccess(this.#emulator).catch((error: unknown) => {
      this.#access = undefined;
      throw error;
    });
    return this.#access;
  }
}

/** Where the API is, and what to show there. */
interface Access {
  readonly endpoint: string;
  readonly isEmulator: boolean;
  headers(): Promise<Record<string, string>>;
}

/** Google's client is loaded when it is needed first: that takes half a second. An emulator wants no credentials. */
async function openAccess(emulator: string | undefined): Promise<Access> {
  if (emulator !== undefined) {
    const endpoint = emulator.includes("://") ? emulator : `http://${emulator}`;
    return { endpoint, isEmulator: true, headers: async () => ({}) };
  }
  const { Storage } = await import("@google-cloud/storage");
  // No request of ours names a project, and finding one out takes seconds outside Google's cloud: it asks gcloud and the metadata server.
  const storage = new Storage({ projectId: "unused" });
  const endpoint = process.env[ENDPOINT_VARIABLE] || storage.apiEndpoint;
  refusePlain(endpoint);
  return {
    endpoint,
    isEmulator: false,
    headers: async () => {
      try {
        return await storage.authClient.getRequestHeaders(endpoint);
      } catch (error) {
        throw explainCredentials(error);
      }
    },
  };
}

/** Tokens are sent in the clear to this machine alone. */
function refusePlain(endpoint: string): void {
  const url = URL.canParse(endpoint) ? new URL(endpoint) : undefined;
  if (url?.protocol === "https:" || /^(localhost|127\.0\.0\.1|\[::1\])$/.test(url?.hostname ?? "")) return;
  throw new SluiceError("config", `${ENDPOINT_VARIABLE} is no address that credentials can be sent to`, {
    found: endpoint,
    expected: "https://...",
  });
}

/** A token server that cannot be reached is tried again; anything else is for the user. */
function explainCredentials(error: unknown): Error {
  const status = Number((error as { response?: { status?: unknown } } | null)?.response?.status);
  const failure = Number.isNaN(status)
    ? asFailure(error)
    : new RequestFailure(`credentials: ${safeMessage(error)}`, { status });
  if (failure?.isRetryable) return failure;
  return new SluiceError("config", "no credentials for Google Cloud Storage", {
    found: safeMessage(error),
    expected: "application-default credentials",
    fix: "Run gcloud auth application-default login, set GOOGLE_APPLICATION_CREDENTIALS, or start on a machine with a service account.",
    cause: isSluiceError(error) ? error : new Error(safeMessage(error)),
  });
}

/** What a reply that is no success says. @param isRetryable where that does not follow from the reply. */
export function failureOf(reply: HttpReply, isRetryable?: boolean): RequestFailure {
  const { status, headers, body } = reply;
  const parsed = errorSchema.safeParse(parseJson(body));
  const message = parsed.success ? parsed.data.error.message : body.subarray(0, 1000).toString();
  const isLater = parsed.success && parsed.data.error.errors?.some(({ reason }) => LATER.has(reason ?? ""));
  return new RequestFailure(message || "no explanation", {
    status,
    retryAfterMs: retryAfterMs(headers["retry-after"]),
    isRetryable: isRetryable ?? (isLater || undefined),
  });
}

/** The body as JSON, or undefined. */
export function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString());
  } catch {
    return undefined;
  }
}
