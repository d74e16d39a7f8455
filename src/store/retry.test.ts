import { describe, expect, it } from "vitest";
import { realClock } from "../base/clock.js";
import { isSluiceError, SluiceError } from "../base/errors.js";
import { redact } from "../base/redact.js";
import { RequestFailure, Retrier, type RetryNote, type RetryOptions, retryAfterMs } from "./retry.js";

const NAME = { kind: "create", uri: "gs://bucket/run/x" };

/** A retrier that does not really wait. */
function quick(options: RetryOptions = {}) {
  const waits: number[] = [];
  const notes: RetryNote[] = [];
  const retrier = new Retrier({
    attempts: 4,
    random: () => 0.5,
    clock: { ...realClock, sleep: async (ms) => void waits.push(ms) },
    onRetry: (note) => notes.push(note),
    ...options,
  });
  return { retrier, waits, notes };
}

/** Fails with these in turn, then succeeds. */
const failing = (...errors: unknown[]) => {
  let calls = 0;
  return async () => {
    if (calls < errors.length) throw errors[calls++];
    return "done";
  };
};
const system = (code: string) => Object.assign(new Error(`read ${code}`), { code });

describe("Retrier", () => {
  it("backs off twice as long each time, with full jitter, and says so", async () => {
    const { retrier, waits, notes } = quick();
    const tries = failing(
      new RequestFailure("Backend Error", { status: 503 }),
      system("ECONNRESET"),
      new Error("socket hang up"),
    );
    expect(await retrier.run(NAME, tries)).toBe("done");
    expect(waits).toEqual([500, 1000, 2000]);
    expect(notes[1]).toEqual({
      request: "create gs://bucket/run/x",
      retry: 2,
      of: 3,
      waitMs: 1000,
      cause: "read ECONNRESET",
    });
    expect(notes[0]?.cause).toBe("HTTP 503: Backend Error");
    expect(retrier.statistics.requests.get("create")).toBe(4);
    expect(retrier.statistics.retries).toBe(3);
  });

  it("honours Retry-After, within reason", async () => {
    const { retrier, waits } = quick();
    const busy = (ms: number) => new RequestFailure("slow down", { status: 429, retryAfterMs: ms });
    await retrier.run(NAME, failing(busy(7000), busy(1e9)));
    expect(waits).toEqual([7500, 601_000]);
    expect(retryAfterMs("120")).toBe(120_000);
    expect(retryAfterMs("Wed, 21 Oct 2026 07:28:00 GMT", Date.parse("2026-10-21T07:27:30Z"))).toBe(30_000);
    expect(retryAfterMs("soon")).toBeUndefined();
    expect(retryAfterMs(null)).toBeUndefined();
  });

  it("gives up after a number of attempts with what was last said, and no credential", async () => {
    const { retrier } = quick();
    const secret = "https://host/upload?upload_id=SECRET Authorization: Bearer ya29.SECRET";
    const error = await retrier
      .run(NAME, async () => {
        throw new RequestFailure(secret, { status: 500 });
      })
      .catch((e: unknown) => e);
    expect(isSluiceError(error, "store")).toBe(true);
    const { message, details, cause } = error as SluiceError;
    expect(message).toContain("gs://bucket/run/x cannot be reached: create failed 4 times; found HTTP 500");
    expect(JSON.stringify([message, details.values, String(cause), (cause as Error).stack])).not.toContain(
      "SECRET",
    );
    expect(details.values).toEqual({
      request: "create",
      object: "gs://bucket/run/x",
      status: 500,
      attempts: 4,
    });
  });

  it("does not repeat what is final", async () => {
    const { retrier, waits } = quick();
    const denied = new RequestFailure("denied", { status: 403 });
    await expect(retrier.run(NAME, failing(denied))).rejects.toThrow(
      "refuses to create gs://bucket/run/x; found HTTP 403: denied",
    );
    await expect(
      retrier.run(NAME, failing(denied), {
        explain: (f) => new SluiceError("config", `no permission (${f.status})`),
      }),
    ).rejects.toSatisfy((e) => isSluiceError(e, "config"));
    await expect(retrier.run(NAME, failing(new TypeError("a bug")))).rejects.toThrow(TypeError);
    expect(waits).toEqual([]);
  });

  it("counts attempts anew after progress", async () => {
    const { retrier } = quick({ attempts: 3 });
    let calls = 0;
    const result = retrier.run(NAME, async (attempt) => {
      if (++calls === 10) return calls;
      if (calls % 2 === 0) attempt.advance();
      throw system("EPIPE");
    });
    expect(await result).toBe(10);
  });

  it("takes a request that moves no byte for failed, and tells its signal", async () => {
    // A clock that only goes when it is told to.
    let now = 0;
    let timer: { readonly at: number; readonly action: () => void } | undefined;
    const pass = (ms: number) => {
      now += ms;
      const due = timer;
      if (!due || due.at > now) return;
      timer = undefined;
      due.action();
    };
    const clock = {
      ...realClock,
      now: () => now,
      sleep: async () => {},
      after: (ms: number, action: () => void) => {
        timer = { at: now + ms, action };
        return () => {
          timer = undefined;
        };
      },
    };
    const { retrier, notes } = quick({ stallMs: 30_000, clock });
    const reasons: unknown[] = [];
    const result = await retrier.run(NAME, async ({ number, signal, isAlive }) => {
      if (number === 2) {
        for (let i = 0; i < 8; i++) {
          pass(20_000);
          isAlive();
        }
        return "slow but alive";
      }
      signal.addEventListener("abort", () => reasons.push(signal.reason));
      pass(29_999);
      expect(signal.aborted).toBe(false);
      pass(1);
      return new Promise<string>(() => {});
    });
    expect(result).toBe("slow but alive");
    expect(notes.map(({ cause }) => cause)).toEqual(["no byte moved for 30 s"]);
    expect(String(reasons[0])).toContain("no byte moved for 30 s");
  });

  it("stops at once when aborted: in an attempt, in a wait, by the driver's signal", async () => {
    const stop = (ms: number) => {
      const controller = new AbortController();
      setTimeout(() => controller.abort(new Error("stop")), ms);
      return controller.signal;
    };
    const hang = () => new Promise<string>(() => {});
    await expect(new Retrier().run(NAME, hang, { signal: stop(5) })).rejects.toThrow("stop");
    await expect(new Retrier({ signal: stop(5) }).run(NAME, hang)).rejects.toThrow("stop");
    const always = async () => {
      throw system("ECONNREFUSED");
    };
    await expect(new Retrier({ random: () => 0.99 }).run(NAME, always, { signal: stop(5) })).rejects.toThrow(
      "stop",
    );
    await expect(
      new Retrier().run(NAME, hang, { signal: AbortSignal.abort(new Error("before")) }),
    ).rejects.toThrow("before");
  });
});

it.each([
  [
    "PUT https://storage.example/upload/b?uploadType=resumable&upload_id=SECRET failed",
    "PUT https://storage.example/upload/b failed",
  ],
  ["https://user:SECRET@host/x#SECRET", "https://host/x"],
  [
    '{"authorization":"Bearer SECRET","x-amz-security-token":"SECRET"}',
    '{"authorization":***,"x-amz-security-token":***}',
  ],
  ["Credential AKIASECRETSECRETSECRE; private_key: SECRET", "Credential ***; private_key: ***"],
  ["GET s3://bucket/a/b.json: AccessDenied", "GET s3://bucket/a/b.json: AccessDenied"],
])("redacts %j", (text, expected) => {
  expect(redact(text)).toBe(expected);
  expect(redact(text)).not.toContain("SECRET");
});
