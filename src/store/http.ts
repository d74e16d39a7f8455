// One HTTP request and its reply: connections are kept, bodies are sent with back-pressure, every byte that moves is told to
// the attempt's clock, and a server that answers before it has read the whole body is heard.

import {
  type ClientRequest,
  Agent as HttpAgent,
  type IncomingMessage,
  request as requestHttp,
} from "node:http";
import { Agent as HttpsAgent, request as requestHttps } from "node:https";
import { type Attempt, RequestFailure } from "./retry.js";
import type { StoreStatistics } from "./statistics.js";

/** What is written to the socket at once: small enough that a slow line still shows progress. */
const SLICE_BYTES = 1 << 20;
/** Free connections are closed before the servers' own limits, so that a request seldom meets a dead one. */
const IDLE_MS = 15_000;
/** A reply that is no object's content is never larger than a page of a listing. */
const REPLY_BYTES = 64 << 20;
/** What is read whole is never larger: a run's own files are a few MB, and whoever owns a bucket may have put anything there. */
const WHOLE_BYTES = 2 ** 31;
/** Room for the text of an error where few bytes are asked for. */
const ERROR_BYTES = 1 << 20;

/** Sends bytes; resolves when they have left the process, and may be overwritten. */
export type Send = (bytes: Uint8Array) => Promise<void>;

/** What a request needs of the attempt that it belongs to. */
export type Watch = Pick<Attempt, "signal" | "isAlive">;

/** A request. */
export interface HttpRequest {
  readonly method: "GET" | "HEAD" | "POST" | "PUT" | "DELETE";
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>>;
  /** The body's length, and what writes it. */
  readonly body?: { readonly length: number; readonly write: (send: Send) => Promise<void> };
  /** The longest reply that is taken, in bytes. */
  readonly replyBytes?: number;
}

/** A reply, whole. */
export interface HttpReply {
  readonly status: number;
  /** By lower-case name. */
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly body: Buffer;
}

/** What {@link HttpRequest.replyBytes} is for an object's content. @param range the bytes that are asked for; without, all. */
export function contentBytes(range?: { readonly start: number; readonly end: number }): number {
  return range ? Math.max(ERROR_BYTES, range.end - range.start) : WHOLE_BYTES;
}

/** A client with connections of its own. */
export class HttpClient {
  readonly #statistics: StoreStatistics;
  readonly #http = new HttpAgent({ keepAlive: true, timeout: IDLE_MS, scheduling: "lifo" });
  readonly #https = new HttpsAgent({ keepAlive: true, timeout: IDLE_MS, scheduling: "lifo" });

  constructor(statistics: StoreStatistics) {
    this.#statistics = statistics;
  }

  /**
   * Sends the request, and reads the whole reply.
   * @throws RequestFailure or a system error where there was none, or it was cut short; what `write` raises; the signal's reason.
   */
  async send(request: HttpRequest, attempt: Watch): Promise<HttpReply> {
    const { url, method, body } = request;
    attempt.signal.throwIfAborted();
    const isSecure = url.protocol === "https:";
    const outgoing = (isSecure ? requestHttps : requestHttp)(url, {
      method,
      agent: isSecure ? this.#https : this.#http,
      signal: attempt.signal,
      headers: { ...request.headers, "content-length": String(body?.length ?? 0) },
    });
    const exchange: Exchange = { outgoing, attempt, isAnswered: false };
    const reply = this.#readReply(exchange, request.replyBytes ?? REPLY_BYTES);
    reply.catch(() => {}); // Raised below.
    let unsent: { readonly error: unknown } | undefined;
    try {
      if (body) await body.write((bytes) => this.#write(exchange, bytes));
      outgoing.end();
    } catch (error) {
      unsent = { error };
      // The server may have answered while we were sending, and that says more than the broken connection.
      if (!outgoing.destroyed && !(error instanceof ConnectionClosed)) outgoing.destroy();
    }
    try {
      return await reply;
    } catch (error) {
      outgoing.destroy(); // It may be a reply that nobody wants to read to its end.
      throw unsent && !(unsent.error instanceof ConnectionClosed) ? unsent.error : error;
    } finally {
      if (unsent) outgoing.destroy(); // The rest of the body will never come: the connection is of no more use.
    }
  }

  async #write(exchange: Exchange, bytes: Uint8Array): Promise<void> {
    const { outgoing, attempt } = exchange;
    for (let start = 0; start < bytes.length; start += SLICE_BYTES) {
      const slice = bytes.subarray(start, start + SLICE_BYTES);
      await new Promise<void>((resolve, reject) => {
        const close = () => reject(new ConnectionClosed());
        if (outgoing.destroyed || exchange.isAnswered) return close();
        outgoing.once("close", close);
        outgoing.once("response", close);
        outgoing.write(slice, (error) => {
          outgoing.off("close", close);
          outgoing.off("response", close);
          if (error) reject(new ConnectionClosed());
          else resolve();
        });
      });
      this.#statistics.bytesSent += slice.length;
      attempt.isAlive();
    }
  }

  #readReply(exchange: Exchange, limit: number): Promise<HttpReply> {
    const { outgoing } = exchange;
    return new Promise((resolve, reject) => {
      outgoing.on("error", reject);
      outgoing.on("response", (incoming) => {
        exchange.isAnswered = true;
        this.#collect(incoming, exchange, limit).then(
          (body) =>
            resolve({
              status: incoming.statusCode ?? 0,
              headers: incoming.headers as Record<string, string | undefined>,
              body,
            }),
          reject,
        );
      });
      outgoing.on("close", () => {
        if (!exchange.isAnswered) reject(new RequestFailure("the connection was closed without a reply"));
      });
    });
  }

  async #collect(incoming: IncomingMessage, { outgoing, attempt }: Exchange, limit: number): Promise<Buffer> {
    // The length in the reply to HEAD is that of a body that does not come.
    const { "content-length": announced } = outgoing.method === "HEAD" ? {} : incoming.headers;
    const declared = Number(announced ?? Number.NaN);
    if (declared > limit)
      throw new RequestFailure(`the reply has ${declared} bytes instead of at most ${limit}`, {
        isRetryable: false,
      });
    const pieces: Buffer[] = [];
    const whole = Number.isSafeInteger(declared) ? Buffer.allocUnsafeSlow(declared) : undefined;
    let length = 0;
    for await (const piece of incoming as AsyncIterable<Buffer>) {
      if (length + piece.length > limit) throw new RequestFailure(`the reply has more than ${limit} bytes`);
      if (whole) piece.copy(whole, length);
      else pieces.push(piece);
      length += piece.length;
      this.#statistics.bytesReceived += piece.length;
      attempt.isAlive();
    }
    if (!incoming.complete) throw new RequestFailure("the reply was cut short");
    return whole?.subarray(0, length) ?? Buffer.concat(pieces);
  }
}

/** A request under way. */
interface Exchange {
  readonly outgoing: ClientRequest;
  readonly attempt: Watch;
  isAnswered: boolean;
}

/** The connection broke, or the server answered, while the body was being sent. */
class ConnectionClosed extends Error {
  constructor() {
    super("the connection was closed");
    this.name = "ConnectionClosed";
  }
}
