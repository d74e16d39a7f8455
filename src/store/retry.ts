// Requests that are sent again when the store, or the way to it, fails: exponential back-off with full jitter (M. Brooker,
// "Exponential Backoff And Jitter", AWS Architecture Blog, 2015). What is bounded is the number of attempts, never the wall
// time: a machine may have slept. A request that moves no byte for a while has failed too.

import { type Clock, realClock } from "../base/clock.js";
import { messageOf, SluiceError, systemCode } from "../base/errors.js";
import { redact } from "../base/redact.js";
import { StoreStatistics } from "./statistics.js";

/** Attempts of a request, the first one included: about two minutes where each fails at once. */
const ATTEMPTS = 10;
const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 60_000;
/** A server that asks for more patience than this gets this much. */
const LONGEST_RETRY_AFTER_MS = 600_000;
const STALL_MS = 60_000;

/** Answers that the stores' documentation says to try again. */
const RETRYABLE_STATUS: ReadonlySet<number> = new Set([408, 429, 500, 502, 503, 504]);
/** Failures of the way: Node's system errors, and those that its HTTP parser and clients raise when a reply is cut off. */
const RETRYABLE_CODE =
  /^(ECONN|ETIMEDOUT|ESOCKET|EPIPE|EAI_|ENOTFOUND|EHOST|ENET|EPROTO|HPE_|ERR_STREAM_PREMATURE_CLOSE|ERR_SSL|ERR_HTTP2|UND_ERR)/;

/** Why an attempt failed, by a driver's own judgement. Its message is redacted. */
export class RequestFailure extends Error {
  /** The HTTP status, where there was an answer. */
  readonly status: number | undefined;
  /** Milliseconds that the server asks to wait. */
  readonly retryAfterMs: number | undefined;
  readonly isRetryable: boolean;

  /**
   * @param message what the server said, or what happened.
   * @param facts `isRetryable` where it does not follow from the status; without a status it does not follow, and is true.
   */
  constructor(
    message: string,
    facts: {
      readonly status?: number | undefined;
      readonly retryAfterMs?: number | undefined;
      readonly isRetryable?: boolean | undefined;
    } = {},
  ) {
    super(redact(message));
    this.name = "RequestFailure";
    this.status = facts.status;
    this.retryAfterMs = facts.retryAfterMs;
    this.isRetryable =
      facts.isRetryable ?? (facts.status === undefined || RETRYABLE_STATUS.has(facts.status));
  }
}

/** What the listener is told before a wait. */
export interface RetryNote {
  /** Such as `create gs://bucket/run/tpu_0/shard_0001.json`. */
  readonly request: string;
  /** This retry's number from 1, and how many there are at most. */
  readonly retry: number;
  readonly of: number;
  readonly waitMs: number;
  /** Why the last attempt failed, in a few words. */
  readonly cause: string;
}

/** What the note says to people; null for a first retry: one failure is nothing to speak of. */
export function describeRetry({ request, retry, of, waitMs, cause }: RetryNote): string | null {
  if (retry < 2) return null;
  return `${request} fails (${cause}): retry ${retry} of ${of} in ${(waitMs / 1000).toFixed(1)} s`;
}

/** How a driver tries. Everything has a default; tests and the simulation bring their own clock and chance. */
export interface RetryOptions {
  /** Attempts of a request, the first included. */
  readonly attempts?: number;
  /** Milliseconds without a byte moved after which an attempt has failed. */
  readonly stallMs?: number;
  readonly onRetry?: (note: RetryNote) => void;
  readonly statistics?: StoreStatistics;
  /** Stops everything that the driver does. */
  readonly signal?: AbortSignal | undefined;
  readonly clock?: Clock;
  /** Uniform in [0, 1). */
  readonly random?: () => number;
}

/** What a request is about, for counters and messages. */
export interface RequestName {
  /** `create`, `read`, `list`: the counter it goes to, and the verb in messages. */
  readonly kind: string;
  /** The object's URI, without credentials. */
  readonly uri: string;
}

/** What an attempt is given. */
export interface Attempt {
  /** From 1. */
  readonly number: number;
  /** Aborted when the caller aborts, or nothing has moved for too long. */
  readonly signal: AbortSignal;
  /** Bytes have moved: the stall's clock starts again. */
  isAlive(): void;
  /** Something has been achieved that the next attempt will not have to do again: attempts are counted anew. */
  advance(): void;
}

/** Sends requests of one store, again where need be. */
export class Retrier {
  readonly statistics: StoreStatistics;
  readonly #attempts: number;
  readonly #stallMs: number;
  readonly #options: RetryOptions;
  readonly #clock: Clock;

  constructor(options: RetryOptions = {}) {
    this.#options = options;
    this.#clock = options.clock ?? realClock;
    this.#attempts = options.attempts ?? ATTEMPTS;
    this.#stallMs = options.stallMs ?? STALL_MS;
    this.statistics = options.statistics ?? new StoreStatistics();
  }

  /**
   * Makes attempts until one succeeds. Each counts as one request of the kind.
   * @param attempt raises {@link RequestFailure}, a system error, or an error that is final: a {@link SluiceError} or anything unknown.
   * @param options `explain` may say what a final answer (such as 403) means; `stallMs` for a request that takes longer.
   * @throws SluiceError `store` naming the request, the last status and cause; what the signal was aborted with; final errors.
   */
  async run<T>(
    name: RequestName,
    attempt: (attempt: Attempt) => Promise<T>,
    options: {
      readonly signal?: AbortSignal | undefined;
      readonly stallMs?: number;
      readonly explain?: (failure: RequestFailure) => SluiceError | undefined;
    } = {},
  ): Promise<T> {
    const signals = [this.#options.signal, options.signal].filter((signal) => signal !== undefined);
    for (let number = 1, failed = 0; ; number++) {
      for (const signal of signals) signal.throwIfAborted();
      this.statistics.count(name.kind);
      let failure: RequestFailure;
      try {
        return await this.#try(number, attempt, signals, options.stallMs ?? this.#stallMs, () => {
          failed = 0;
        });
      } catch (error) {
        for (const signal of signals) signal.throwIfAborted();
        const found = asFailure(error);
        if (!found) throw error;
        failure = found;
      }
      failed += 1;
      if (!failure.isRetryable || failed >= this.#attempts)
        throw (failure.isRetryable ? undefined : options.explain?.(failure)) ?? giveUp(name, failure, number);
      const waitMs = this.#waitAfter(failed, failure);
      this.statistics.retries += 1;
      this.#options.onRetry?.({
        request: `${name.kind} ${name.uri}`,
        retry: failed,
        of: this.#attempts - 1,
        waitMs,
        cause: causeOf(failure),
      });
      await this.sleep(waitMs, signals);
    }
  }

  /** Waits, by the clock that the options brought. @throws what a signal is aborted with. */
  async sleep(ms: number, signals: readonly AbortSignal[]): Promise<void> {
    const { signal, dispose } = anyOf(signals);
    try {
      await this.#clock.sleep(ms, signal);
    } catch (error) {
      throw signal.aborted ? signal.reason : error;
    } finally {
      dispose();
    }
  }

  async #try<T>(
    number: number,
    attempt: (attempt: Attempt) => Promise<T>,
    signals: readonly AbortSignal[],
    stallMs: number,
    onAdvance: () => void,
  ): Promise<T> {
    const { signal, abort, dispose } = anyOf(signals);
    let movedAt = this.#clock.now();
    let cancel = () => {};
    const watch = (ms: number) => {
      cancel = this.#clock.after(ms, () => {
        const left = movedAt + stallMs - this.#clock.now();
        if (left > 0) watch(left);
        else
          abort(
            new RequestFailure(`no byte moved for ${Math.round(stallMs / 1000)} s`, { isRetryable: true }),
          );
      });
    };
    watch(stallMs);
    const isAlive = () => {
      movedAt = this.#clock.now();
    };
    const aborted = new Promise<never>((_, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason), { once: true });
    });
    aborted.catch(() => {});
    try {
      const result = attempt({ number, signal, isAlive, advance: onAdvance });
      result.catch(() => {}); // What it raises after it was left behind is of no interest.
      return await Promise.race([result, aborted]);
    } catch (error) {
      // A client says 'aborted' of a request that we gave up: the reason is what counts.
      throw signal.aborted ? signal.reason : error;
    } finally {
      cancel();
      dispose();
    }
  }

  /** Full jitter: anything between nothing and a bound that doubles; a server's Retry-After comes on top. */
  #waitAfter(failed: number, failure: RequestFailure): number {
    const bound = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (failed - 1));
    const jitter = Math.floor((this.#options.random ?? Math.random)() * bound);
    return Math.min(LONGEST_RETRY_AFTER_MS, failure.retryAfterMs ?? 0) + jitter;
  }
}

/** The error as a failure of a request: of the driver's making, or the way's; undefined for anything else. */
export function asFailure(error: unknown): RequestFailure | undefined {
  if (error instanceof RequestFailure) return error;
  if (error instanceof SluiceError) return undefined;
  for (let at: unknown = error, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth++) {
    const code = systemCode(at);
    if (code !== undefined && RETRYABLE_CODE.test(code)) return new RequestFailure(describe(at, code));
  }
  // What Node's fetch and http say, without a code, of a connection that was cut.
  const isCut = error instanceof Error && /socket hang up|^terminated$|premature close/i.test(error.message);
  return isCut ? new RequestFailure(error.message) : undefined;
}

/** Milliseconds that a Retry-After header asks for: seconds, or a date (RFC 9110, section 10.2.3). */
export function retryAfterMs(header: string | null | undefined, now = Date.now()): number | undefined {
  if (header === null || header === undefined || header.trim() === "") return undefined;
  const seconds = Number(header);
  const ms = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(header) - now;
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined;
}

function describe(error: Error, code: string): string {
  return error.message.includes(code) ? error.message : `${code}: ${error.message}`;
}

function causeOf(failure: RequestFailure): string {
  const status = failure.status === undefined ? "" : `HTTP ${failure.status}`;
  return [status, failure.message].filter((part) => part !== "").join(": ");
}

function giveUp(name: RequestName, failure: RequestFailure, attempts: number): SluiceError {
  const what = failure.isRetryable
    ? `${name.uri} cannot be reached: ${name.kind} failed ${attempts} times`
    : `the store refuses to ${name.kind} ${name.uri}`;
  return new SluiceError("store", what, {
    found: causeOf(failure),
    fix: "What is committed is safe: start the command again to go on, once the store answers.",
    values: { request: name.kind, object: name.uri, status: failure.status ?? null, attempts },
    cause: new Error(causeOf(failure)),
  });
}

/** A signal that follows several, and an `abort` of its own. (AbortSignal.any keeps every follower of a long-lived signal.) */
export function anyOf(signals: readonly AbortSignal[]): {
  readonly signal: AbortSignal;
  abort(reason: unknown): void;
  dispose(): void;
} {
  const controller = new AbortController();
  const listeners = signals.map((signal) => {
    const listener = () => controller.abort(signal.reason);
    if (signal.aborted) listener();
    else signal.addEventListener("abort", listener, { once: true });
    return { signal, listener };
  });
  return {
    signal: controller.signal,
    abort: (reason: unknown) => controller.abort(reason),
    dispose: () => {
      for (const { signal, listener } of listeners) signal.removeEventListener("abort", listener);
    },
  };
}

/** One line of any error, redacted: for what SDKs raise. */
export function safeMessage(error: unknown): string {
  return redact(messageOf(error));
}
