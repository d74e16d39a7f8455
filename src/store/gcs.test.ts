import { mkdtemp, open as openFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { crc32c } from "@node-rs/crc32";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { FakeGcs, type Fault, type RequestKind, zerosCrc } from "../../test/fake-gcs.js";
import { realClock } from "../base/clock.js";
import { combineCrcs, formatCrc } from "../base/crc.js";
import { isSluiceError, type SluiceError } from "../base/errors.js";
import { type GcsOptions, GcsStore } from "./gcs.js";
import type { RetryNote } from "./retry.js";
import { StoreStatistics } from "./statistics.js";
import type { Stored } from "./store.js";
import { describeStore } from "./store.suite.js";

const MIB = 1 << 20;
const server = new FakeGcs();
let folder: string;
let statistics: StoreStatistics;
let notes: RetryNote[];

beforeAll(async () => {
  await server.start();
  folder = await mkdtemp(join(tmpdir(), "sluice-gcs-"));
});
afterAll(async () => {
  await server.stop();
  await rm(folder, { recursive: true });
});
const reset = () => {
  server.fault = () => undefined;
  server.counts.clear();
  statistics = new StoreStatistics();
  notes = [];
};
beforeEach(reset);

let places = 0;
const open = (options: GcsOptions = {}, prefix = `run-${places++}`) =>
  new GcsStore(`gs://bucket/${prefix}`, {
    emulator: server.url,
    pageSize: 7,
    singleRequestBytes: MIB,
    clock: { ...realClock, sleep: async () => {} },
    statistics,
    onRetry: (note) => notes.push(note),
    ...options,
  });
/** The next so many uploads, whichever way they go. */
const spoil = (fault: Fault, times = 1, then = () => {}) => {
  let left = times;
  server.fault = ({ kind }) => {
    if ((kind !== "insert" && kind !== "put") || left-- <= 0) return undefined;
    then();
    return fault;
  };
};

describeStore("gcs", {
  open: (place) => {
    reset();
    return open({}, `suite/${basename(place)}`);
  },
  checksFiles: true,
  faults: {
    loseReply: () => spoil({ kind: "lost" }),
    refuse: () => spoil({ kind: "status", status: 503 }, 2),
    damageOnce: () => spoil({ kind: "damage" }),
    damage: () => spoil({ kind: "damage" }, 1000),
    heal: () => spoil({ kind: "damage" }, 0),
    stall: (then) => spoil({ kind: "stall" }, 1, then),
  },
});

let files = 0;
async function makeFile(size = 5 * MIB + 12345) {
  const file = join(folder, `file-${files++}`);
  const content = Buffer.alloc(size, Buffer.from(`sluice ${files}`));
  await writeFile(file, content);
  return { body: { file, size, crc32c: formatCrc(crc32c(content)) }, content };
}
const counts = () => Object.fromEntries(server.counts);

describe("an upload in a session", () => {
  it("is one request to open it and one with all bytes", async () => {
    const { body, content } = await makeFile();
    await open().create("x", body);
    expect(counts()).toEqual({ open: 1, put: 1 });
    expect(Object.fromEntries(statistics.requests)).toEqual({ "open-upload": 1, upload: 1 });
    expect(statistics.bytesSent - content.length).toBeLessThan(500);
  });

  it("is no request at all with bytes where the name is taken", async () => {
    const store = open();
    const { body } = await makeFile();
    await store.create("x", Buffer.from("somebody's"));
    expect(await store.create("x", body)).toBe("exists");
    expect(counts()).toEqual({ insert: 1, open: 1 });
  });

  it("goes on where the connection broke off, and sends nothing twice", async () => {
    const store = open();
    const { body, content } = await makeFile();
    server.failNext("put", { kind: "cut", after: 3 * MIB });
    await store.create("x", body);
    expect(counts()).toEqual({ open: 1, put: 2, query: 1 });
    expect(Buffer.from(await store.read("x")).equals(content)).toBe(true);
    const [session] = [...server.sessions.values()].slice(-1);
    // The fake keeps whole steps of 256 KiB of what it got before the cut; only the rest came again.
    const resent = (session?.pieces ?? []).filter(
      ({ offset }) => offset % (256 << 10) === 0 && offset >= 3 * MIB - (256 << 10),
    );
    expect(resent.length).toBeGreaterThan(0);
    expect(notes).toHaveLength(1);
  });

  it("sends what the service did not keep, without counting it as a failure", async () => {
    const store = open();
    const { body, content } = await makeFile();
    server.failNext("put", { kind: "partial", bytes: MIB + 5 }, 3);
    await store.create("x", body);
    expect(counts()).toEqual({ open: 1, put: 4 });
    expect(Buffer.from(await store.read("x")).equals(content)).toBe(true);
    expect(notes).toEqual([]);
  });

  it("gives up where the service keeps nothing, with all that is known and no session's address", async () => {
    const { body } = await makeFile();
    server.failNext("put", { kind: "partial", bytes: 0 }, 100);
    const error = (await open({ attempts: 3 })
      .create("x", body)
      .catch((e: unknown) => e)) as SluiceError;
    expect(isSluiceError(error, "store")).toBe(true);
    expect(error.message).toMatch(/gs:\/\/bucket\/run-\d+\/x cannot be reached: upload failed 3 times/);
    expect(
      `${error.message} ${JSON.stringify(error.details)} ${error.stack} ${(error.cause as Error).stack}`,
    ).not.toMatch(/upload_id|session-/);
  });

  it("goes on as long as each attempt brings it on, however often the connection breaks", async () => {
    const { body } = await makeFile();
    server.failNext("put", { kind: "cut", after: 600 << 10 }, 9);
    expect(await open({ attempts: 2 }).create("x", body)).toMatchObject({ size: body.size });
    expect(counts().put).toBeGreaterThan(8);
  });

  it.each<[string, RequestKind, Fault, object]>([
    ["the opening's reply is lost", "open", { kind: "lost" }, { open: 2, put: 1 }],
    ["the last reply is lost", "put", { kind: "lost" }, { open: 1, put: 1, query: 1 }],
    ["the service is busy", "put", { kind: "status", status: 503 }, { open: 1, put: 2, query: 1 }],
    ["the session is forgotten", "put", { kind: "forget" }, { open: 2, put: 2 }],
    ["bytes arrive damaged", "put", { kind: "damage" }, { open: 2, put: 2 }],
    [
      "the service says that it is busy before it has read the bytes",
      "put",
      { kind: "early", status: 503 },
      { open: 1, put: 2, query: 1 },
    ],
    ["the service is busy at the opening", "open", { kind: "status", status: 429 }, { open: 2, put: 1 }],
  ])("succeeds where %s", async (_, kind, fault, requests) => {
    const store = open();
    const { body, content } = await makeFile();
    server.failNext(kind, fault);
    expect(await store.create("x", body)).toMatchObject({ size: body.size, crc32c: body.crc32c });
    expect(counts()).toEqual(requests);
    expect(Buffer.from(await store.read("x")).equals(content)).toBe(true);
  });

  it("knows its object where the reply was lost and the session forgotten after it", async () => {
    const store = open();
    const { body } = await makeFile();
    server.failNext("put", { kind: "lost" });
    server.failNext("query", { kind: "forget" });
    expect(await store.create("x", body)).toEqual(await store.head("x"));
    expect(counts()).toMatchObject({ open: 2, put: 1, query: 1, head: 2 });
  });

  it("loses to whoever created the object while it was under way", async () => {
    const store = open();
    const { body } = await makeFile();
    let isFirst = true;
    const other = open({}, store.uri.slice("gs://bucket/".length));
    const racing = other.create("y", Buffer.from("warm"));
    server.fault = ({ kind }) => {
      if (kind !== "put" || !isFirst) return undefined;
      isFirst = false;
      return { kind: "late", after: other.create("x", Buffer.from("quicker")) };
    };
    await racing;
    expect(await store.create("x", body)).toBe("exists");
    expect(Buffer.from(await store.read("x")).toString()).toBe("quicker");
  });

  it("ends where sessions are forgotten again and again", async () => {
    const { body } = await makeFile();
    server.failNext("put", { kind: "forget" }, 100);
    await expect(open().create("x", body)).rejects.toThrow(/sessions that the store forgets/);
    expect(counts()).toEqual({ open: 4, put: 4 });
  });

  it("is refused where the store says that it has other bytes", async () => {
    const { body } = await makeFile();
    server.failNext("put", { kind: "lie" });
    await expect(open().create("x", body)).rejects.toSatisfy(
      (e) => isSluiceError(e, "store") && /is not what was sent; found .* CRC32C/.test(e.message),
    );
  });

  it("ends where the file is cut short under it", async () => {
    const { body } = await makeFile();
    await writeFile(body.file, Buffer.alloc(MIB));
    await expect(open().create("x", body)).rejects.toSatisfy(
      (e) => isSluiceError(e, "store") && /cut short/.test(e.message),
    );
    expect(await open().head("x")).toBeNull();
  });

  it("notices a stall, and goes on", async () => {
    const { body } = await makeFile();
    // A clock that leaps, once the request hangs and until that is noticed: no attempt that is but slow is taken for a stalled one.
    let leapt = 0;
    const due = new Set<() => void>();
    const leap = setInterval(() => {
      if (server.counts.get("put") !== 1 || notes.length > 0) return;
      leapt += 3_600_000;
      for (const action of [...due]) if (due.delete(action)) action();
    }, 10);
    const clock = {
      ...realClock,
      sleep: async () => {},
      now: () => realClock.now() + leapt,
      after: (_ms: number, action: () => void) => {
        due.add(action);
        return () => void due.delete(action);
      },
    };
    server.failNext("put", { kind: "stall" });
    expect(await open({ clock }).create("x", body)).toMatchObject({ size: body.size });
    clearInterval(leap);
    expect(notes.map(({ cause }) => cause)).toEqual([expect.stringContaining("no byte moved")]);
  });

  it("counts beyond 4 GiB", async () => {
    const size = 5_000_000_123;
    const tail = Buffer.from("the end of it all");
    const file = join(folder, "huge");
    const handle = await openFile(file, "wx");
    await handle.write(tail, 0, tail.length, size - tail.length);
    await handle.close();
    const crc = formatCrc(combineCrcs(zerosCrc(size - tail.length), crc32c(tail), tail.length));
    server.skipTo = { size, offset: 4_999_999_488 };
    const store = open();
    expect(await store.create("huge", { file, size, crc32c: crc })).toMatchObject({ size, crc32c: crc });
    expect(counts()).toEqual({ open: 1, put: 2, query: 1 });
    expect(Buffer.from(await store.read("huge", { start: size - tail.length, end: size }))).toEqual(tail);
    expect([...(await store.read("huge", { start: 2 ** 32 - 1, end: 2 ** 32 + 1 }))]).toEqual([0, 0]);
    await expect(store.read("huge", { start: size - 1, end: size + 1 })).rejects.toThrow(
      `found ${size} bytes`,
    );
  });
});

describe("a request", () => {
  it("is one a verb", async () => {
    const store = open();
    const stored = (await store.create("x", Buffer.from("abc"))) as Stored;
    await store.replace("y", Buffer.from("abc"));
    await store.head("x");
    await store.read("x", { start: 0, end: 2 });
    for await (const _ of store.list(""));
    await store.remove("x", stored.version);
    expect(Object.fromEntries(statistics.requests)).toEqual({
      create: 1,
      replace: 1,
      head: 1,
      read: 1,
      list: 1,
      remove: 1,
    });
    expect(server.total).toBe(6);
  });

  it("is sent again for what passes: busy, cut, torn, damaged", async () => {
    const store = open();
    const content = Buffer.alloc(300_000, "abc");
    server.failNext("insert", { kind: "status", status: 429, retryAfter: "7" });
    await store.create("x", content);
    expect(notes[0]).toMatchObject({ request: `create ${store.uri}/x`, cause: "HTTP 429: a fault" });
    expect(notes[0]?.waitMs).toBeGreaterThanOrEqual(7000);
    server.failNext("insert", { kind: "damage" });
    expect(await store.create("small", content)).toMatchObject({ size: content.length });
    expect(Buffer.from(await store.read("small")).equals(content)).toBe(true);
    server.failNext("delete", { kind: "lost" });
    await store.remove("small", (await store.head("small"))?.version ?? "");
    for (const fault of [{ kind: "torn", after: 1000 }, { kind: "damage" }, { kind: "lost" }] as const) {
      server.failNext("read", fault);
      expect(Buffer.from(await store.read("x")).equals(content)).toBe(true);
    }
    server.failNext("read", { kind: "torn", after: 10 });
    expect(await store.read("x", { start: 5, end: 5000 })).toHaveLength(4995);
    server.failNext("list", { kind: "lost" });
    const names: string[] = [];
    for await (const { name } of store.list("")) names.push(name);
    expect(names).toEqual(["x"]);
    server.failNext("delete", { kind: "lost" });
    await store.remove("x", (await store.head("x"))?.version ?? "");
    expect(await store.head("x")).toBeNull();
    expect(statistics.retries).toBe(9);
  });

  it("is heard where it is answered before it was all sent", async () => {
    const store = open({ singleRequestBytes: 64 * MIB });
    const { body } = await makeFile();
    server.failNext("insert", { kind: "early", status: 412 });
    expect(await store.create("x", body)).toBe("exists");
    server.failNext("insert", { kind: "early", status: 503 });
    expect(await store.create("x", body)).toMatchObject({ size: body.size });
    expect(notes.map(({ cause }) => cause)).toEqual(["HTTP 503: a fault"]);
  });

  it("is not sent again for what does not pass, and says what to do", async () => {
    const store = open();
    server.failNext("insert", {
      kind: "status",
      status: 403,
      message: "x@y does not have storage.objects.create access",
    });
    await expect(store.create("x", Buffer.from("abc"))).rejects.toSatisfy(
      (e) =>
        isSluiceError(e, "config") &&
        /no permission to create in gs:\/\/bucket; found HTTP 403: .*objects.create access/.test(e.message),
    );
    const nowhere = new GcsStore("gs://nowhere/x", {
      emulator: server.url,
      clock: { ...realClock, sleep: async () => {} },
    });
    const isMissing = (e: unknown) =>
      isSluiceError(e, "config") && /there is no bucket gs:\/\/nowhere/.test(e.message);
    await expect(nowhere.create("x", Buffer.of())).rejects.toSatisfy(isMissing);
    await expect(nowhere.head("x")).rejects.toSatisfy(isMissing);
    await expect(nowhere.read("x")).rejects.toSatisfy(isMissing);
    await expect(nowhere.list("").next()).rejects.toSatisfy(isMissing);
    expect(notes).toEqual([]);
  });

  it("to a store that cannot be reached ends with its name and the cause", async () => {
    const store = new GcsStore("gs://bucket/x", {
      emulator: "127.0.0.1:1",
      clock: { ...realClock, sleep: async () => {} },
      attempts: 3,
    });
    await expect(store.head("run.json")).rejects.toSatisfy(
      (e) =>
        isSluiceError(e, "store") &&
        /gs:\/\/bucket\/x\/run.json cannot be reached: head failed 3 times; found .*ECONNREFUSED/.test(
          e.message,
        ),
    );
  });

  it("takes no more into memory than a run's files ever have", async () => {
    const store = open({}, "huge");
    server.objects.set("huge/run.json", {
      size: 2 ** 40,
      crc: 0,
      generation: "1",
      metadata: undefined,
      pieces: [],
    });
    await expect(store.read("run.json")).rejects.toSatisfy(
      (e) => isSluiceError(e, "store") && /1099511627776 bytes instead of at most/.test(e.message),
    );
    expect([...(await store.read("run.json", { start: 2 ** 39, end: 2 ** 39 + 2 }))]).toEqual([0, 0]);
  });

  it("hides folders that a console made", async () => {
    const store = open({}, "console");
    server.objects.set("console/", { size: 0, crc: 0, generation: "1", metadata: undefined, pieces: [] });
    server.objects.set("console/a/", { size: 0, crc: 0, generation: "2", metadata: undefined, pieces: [] });
    await store.create("a/b", Buffer.from("x"));
    const names: string[] = [];
    for await (const { name } of store.list("")) names.push(name);
    expect(names).toEqual(["a/b"]);
  });
});

it.each(["gs://", "gs:///x", "gs://a/../b", "gs://user@host/x", "gs://a/b//c"])(
  "refuses the address %s",
  (uri) => {
    expect(() => new GcsStore(uri)).toThrow(/no address of a bucket/);
  },
);

it.each([
  ["gs://b", "gs://b"],
  ["gs://b/", "gs://b"],
  ["GS://b/x/y//", "gs://b/x/y"],
])("takes the address %s", (uri, expected) => {
  expect(new GcsStore(uri).uri).toBe(expected);
});

describe("credentials", () => {
  afterEach(() => vi.unstubAllEnvs());

  /** Workload identity federation: a file with a token, exchanged at a token service. */
  async function federate(answer: () => { status: number; body: object }) {
    const tokens = createServer((_, response) => {
      const { status, body } = answer();
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
    });
    await new Promise<void>((resolve) => tokens.listen(0, "127.0.0.1", resolve));
    const token = join(folder, "token");
    const config = join(folder, "credentials.json");
    await writeFile(token, "a subject's token");
    await writeFile(
      config,
      JSON.stringify({
        type: "external_account",
        audience: "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
        subject_token_type: "urn:ietf:params:oauth:token-type:jwt",
        token_url: `http://127.0.0.1:${(tokens.address() as AddressInfo).port}/v1/token`,
        credential_source: { file: token },
      }),
    );
    vi.stubEnv("GOOGLE_APPLICATION_CREDENTIALS", config);
    vi.stubEnv("CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE", `${server.url}/`);
    vi.stubEnv("STORAGE_EMULATOR_HOST", undefined);
    return tokens;
  }

  it("are those of workload identity, and asked for again once they are refused", async () => {
    let issued = 0;
    const tokens = await federate(() => ({
      status: 200,
      body: {
        access_token: `token-${++issued}`,
        expires_in: 3600,
        token_type: "Bearer",
        issued_token_type: "urn:ietf:params:oauth:token-type:access_token",
      },
    }));
    try {
      const store = open({ emulator: undefined });
      const { body } = await makeFile();
      server.token = "token-1";
      expect(await store.create("x", body)).toMatchObject({ size: body.size });
      server.token = "token-2";
      expect(await store.head("x")).toMatchObject({ size: body.size });
      expect(issued).toBe(2);
      server.token = "another";
      const error = (await store.head("x").catch((e: unknown) => e)) as SluiceError;
      expect(isSluiceError(error, "config")).toBe(true);
      expect(`${error.message} ${error.stack} ${JSON.stringify(error.details)}`).not.toMatch(/token-\d/);
    } finally {
      server.token = undefined;
      tokens.close();
    }
  });

  it("are asked for again where the token service fails, and named where there are none", async () => {
    let asked = 0;
    const tokens = await federate(() =>
      ++asked === 1
        ? { status: 503, body: {} }
        : {
            status: 400,
            body: { error: "invalid_grant", error_description: "the subject's token SECRET is stale" },
          },
    );
    try {
      const store = open({ emulator: undefined });
      await expect(store.head("x")).rejects.toSatisfy(
        (e) => isSluiceError(e, "config") && /no credentials for Google Cloud Storage/.test(e.message),
      );
      vi.stubEnv("GOOGLE_APPLICATION_CREDENTIALS", join(folder, "nothing"));
      await expect(open({ emulator: undefined }).head("x")).rejects.toSatisfy((e) =>
        isSluiceError(e, "config"),
      );
      expect(asked).toBeGreaterThan(1);
    } finally {
      tokens.close();
    }
  });

  it("never go over plain HTTP to another machine", async () => {
    vi.stubEnv("STORAGE_EMULATOR_HOST", undefined);
    vi.stubEnv("CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE", "http://storage.example/");
    await expect(open({ emulator: undefined }).head("x")).rejects.toThrow(/https/);
  });
});
