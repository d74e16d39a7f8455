import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { crc32c } from "@node-rs/crc32";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { type FakeRequest, FakeS3, type FakeS3Options } from "../../test/fake-s3.js";
import { FaultyProxy } from "../../test/faulty-proxy.js";
import { s3Faults } from "../../test/s3-faults.js";
import { realClock } from "../base/clock.js";
import { formatCrc } from "../base/crc.js";
import { isSluiceError } from "../base/errors.js";
import { uploadMemory } from "./parts.js";
import type { RetryNote } from "./retry.js";
import { type S3Options, S3Store } from "./s3.js";
import { describeStore } from "./store.suite.js";

const PART_BYTES = 64 << 10;
const options: S3Options = { partBytes: PART_BYTES, clock: { ...realClock, sleep: async () => {} } };
const clean: (() => Promise<void>)[] = [];
/** The environment as it is for whoever has set nothing. */
for (const name of Object.keys(process.env)) if (name.startsWith("AWS_")) delete process.env[name];
process.env.AWS_EC2_METADATA_DISABLED = "true";
process.env.AWS_CONFIG_FILE = process.env.AWS_SHARED_CREDENTIALS_FILE = "/dev/null";

const startFake = async (fakeOptions: FakeS3Options = {}) => {
  const fake = await FakeS3.start({ minPartBytes: PART_BYTES, ...fakeOptions });
  Object.assign(process.env, fake.env);
  clean.push(() => fake.close());
  return fake;
};
const cleanUp = async () => {
  for (const close of clean.splice(0).reverse()) await close();
};

describe("against a fake server", () => {
  let fake: FakeS3;
  let proxy: FaultyProxy;
  beforeAll(async () => {
    fake = await startFake({ pageSize: 7 });
    proxy = await FaultyProxy.start(fake.url, { stallMs: 60_000 });
    process.env.AWS_ENDPOINT_URL = proxy.url;
  });
  afterAll(async () => {
    await proxy.close();
    await cleanUp();
  });

  describeStore("S3", {
    open: (folder) => {
      process.env.AWS_ENDPOINT_URL = proxy.url;
      return new S3Store(`s3://bucket/run/${basename(folder)}`, options);
    },
    largeBytes: 3 * PART_BYTES + 7,
    checksFiles: true,
    faults: s3Faults(() => proxy),
  });

  it("leaves no unfinished upload and no memory behind, whatever went wrong", async () => {
    await vi.waitFor(() => expect(fake.uploads.size).toBe(0), { timeout: 120_000 });
    expect(uploadMemory.used).toBe(0);
    expect(new Set(proxy.happened.keys())).toEqual(new Set(["droppedAfter", "busy", "damaged", "stalled"]));
  });
});

describe("S3 store", () => {
  let folder: string;
  let count = 0;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "sluice-s3-"));
  });
  afterAll(() => rm(folder, { recursive: true }));
  afterEach(cleanUp);

  const makeFile = async (parts: number, seed = 0) => {
    const file = join(folder, String(count++));
    const content = Buffer.alloc(Math.round(parts * PART_BYTES), Buffer.from(`${seed} sluice `));
    await writeFile(file, content);
    return { file, size: content.length, crc32c: formatCrc(crc32c(content)) };
  };
  const open = (more: S3Options = {}) => new S3Store("s3://bucket/run", { ...options, ...more });
  const completes = ({ method, query }: FakeRequest) => method === "POST" && query.has("uploadId");
  const isPart = (number: number) => (request: FakeRequest) =>
    request.query.get("partNumber") === String(number);
  const puts = ({ method }: FakeRequest) => method === "PUT";

  it("sends a small file in one request, and a large one in parts, of which only a lost one is sent again", async () => {
    const fake = await startFake();
    const store = open();
    await store.create("small", await makeFile(1));
    expect(fake.requests).toEqual(["PUT run/small"]);
    fake.requests.length = 0;
    fake.failNext(isPart(2), { status: 500, code: "InternalError", isEarly: true });
    await store.create("large", await makeFile(3.5));
    const sent = fake.requests.map((request) =>
      request.replace(/uploadId=[^&]*/, "uploadId=").replace(/[&?]$/, ""),
    );
    expect(sent.sort()).toEqual([
      "HEAD run/large",
      "HEAD run/large",
      "POST run/large?uploadId=",
      "POST run/large?uploads=",
      "PUT run/large?partNumber=1&uploadId=",
      "PUT run/large?partNumber=2&uploadId=",
      "PUT run/large?partNumber=2&uploadId=",
      "PUT run/large?partNumber=3&uploadId=",
      "PUT run/large?partNumber=4&uploadId=",
    ]);
  });

  it("does not send a large file whose name is taken", async () => {
    const fake = await startFake();
    const store = open();
    const body = await makeFile(3);
    await store.create("x", body);
    fake.requests.length = 0;
    expect(await store.create("x", body)).toBe("exists");
    expect(fake.requests).toEqual(["HEAD run/x"]);
  });

  describe.each([
    ["PutObject", 1, puts],
    ["CompleteMultipartUpload", 3, completes],
  ] as const)("%s", (_, parts, concerns) => {
    it("tells a name that somebody takes meanwhile, and clears up", async () => {
      const fake = await startFake();
      const [ours, theirs] = [await makeFile(parts, 1), await makeFile(parts, 1)];
      fake.beforeNext(concerns, () => {
        fake.objects.set("run/x", {
          bytes: Buffer.from("theirs"),
          etag: "0",
          metadata: {},
          crc32c: undefined,
        });
      });
      expect(await open().create("x", ours)).toBe("exists");
      // Also where it is the very same bytes: they are somebody else's.
      await open().create("y", theirs);
      expect(await open().create("y", ours)).toBe("exists");
      expect(fake.uploads.size).toBe(0);
    });

    it("starts over after a conflict", async () => {
      const fake = await startFake();
      fake.failNext(concerns, { status: 409, code: "ConditionalRequestConflict" });
      const body = await makeFile(parts);
      expect(await open().create("x", body)).toMatchObject({ size: body.size, crc32c: body.crc32c });
      expect(fake.uploads.size).toBe(0);
    });

    it("refuses what the store keeps otherwise than it was sent", async () => {
      const fake = await startFake();
      const body = await makeFile(parts);
      const spoil = () => {
        const object = fake.objects.get("run/x");
        if (object) fake.objects.set("run/x", { ...object, crc32c: "AAAAAA==" });
      };
      // The reply is lost, so that the object is looked at.
      fake.failNext(concerns, { status: 500, code: "InternalError" });
      fake.beforeNext(({ method, key }) => method === "HEAD" && fake.objects.has(key), spoil);
      const proxy = await FaultyProxy.start(fake.url);
      clean.push(() => proxy.close());
      process.env.AWS_ENDPOINT_URL = proxy.url;
      proxy.failNext(
        "droppedAfter",
        ({ method, path }) => /^(PUT|POST)$/.test(method) && !/uploads|partN/.test(path),
        2,
      );
      await expect(open().create("x", body)).rejects.toSatisfy(
        (error) => isSluiceError(error, "store") && error.message.includes("is not what was sent"),
      );
    });
  });

  it("knows a taken name where the server refuses and closes the connection before it has the body", async () => {
    const fake = await startFake();
    await open().create("x", Buffer.from("somebody's"));
    // The client is still sending: it may see the answer, or a reset and never the answer.
    for (let i = 0; i < 5; i++)
      fake.failNext(puts, { status: 412, code: "PreconditionFailed", isEarly: true });
    const store = open({ partBytes: 8 << 20 });
    for (let i = 0; i < 5; i++) expect(await store.create("x", await makeFile(100, i))).toBe("exists");
  });

  it("starts over where somebody has given the upload up, but not for ever", async () => {
    const fake = await startFake();
    const giveUp = () => fake.uploads.clear();
    fake.beforeNext(isPart(2), giveUp);
    fake.beforeNext(completes, giveUp);
    expect(await open().create("x", await makeFile(3))).toMatchObject({ name: "x" });
    for (let i = 0; i < 10; i++) fake.beforeNext(completes, giveUp);
    await expect(open().create("y", await makeFile(3))).rejects.toSatisfy(
      (error) => isSluiceError(error, "store") && error.message.includes("start over"),
    );
  });

  it("takes an error that comes with status 200 for one", async () => {
    const fake = await startFake();
    fake.failNext(completes, { status: 200, code: "InternalError" });
    const body = await makeFile(3);
    expect(await open().create("x", body)).toMatchObject({ crc32c: body.crc32c });
    expect(fake.requests.filter((request) => request.startsWith("POST run/x?uploadId="))).toHaveLength(2);
  });

  it("refuses a file that was cut or changed after it was hashed, and leaves nothing", async () => {
    const fake = await startFake();
    for (const parts of [1, 3]) {
      const body = await makeFile(parts);
      await writeFile(body.file, Buffer.alloc(body.size, 1));
      await expect(open().create("x", body)).rejects.toThrow(/was changed before it was uploaded/);
      await writeFile(body.file, Buffer.alloc(body.size - 1));
      await expect(open().create("x", body)).rejects.toThrow(/cut short/);
    }
    expect(fake.objects.size).toBe(0);
    expect(fake.uploads.size).toBe(0);
    expect(uploadMemory.used).toBe(0);
  });

  it("stops a large upload in the middle, and gives it up", async () => {
    const fake = await startFake();
    const stop = new AbortController();
    fake.beforeNext(isPart(2), () => stop.abort(new Error("stop")));
    await expect(open().create("x", await makeFile(6), { signal: stop.signal })).rejects.toThrow("stop");
    expect(fake.objects.size).toBe(0);
    expect(fake.uploads.size).toBe(0);
    expect(uploadMemory.used).toBe(0);
  });

  it("gives an upload up that had begun when it was stopped, though nobody waits for it", async () => {
    const fake = await startFake();
    const stop = new AbortController();
    fake.beforeNext(
      ({ query }) => query.has("uploads"),
      () => stop.abort(new Error("stop")),
    );
    await expect(open().create("x", await makeFile(3), { signal: stop.signal })).rejects.toThrow("stop");
    const deletes = () => fake.requests.filter((request) => request.startsWith("DELETE")).length;
    await vi.waitFor(() => expect([deletes(), fake.uploads.size]).toEqual([1, 0]), { timeout: 120_000 });
  });

  it("makes do with a server that keeps no CRC32C: size and MD5 tell", async () => {
    const fake = await startFake({ keepsCrc: false });
    const proxy = await FaultyProxy.start(fake.url);
    clean.push(() => proxy.close());
    process.env.AWS_ENDPOINT_URL = proxy.url;
    const store = open();
    for (const parts of [1, 3]) {
      const body = await makeFile(parts);
      const stored = await store.create(`x${parts}`, body);
      expect(stored).toMatchObject({ size: body.size });
      expect(stored).not.toHaveProperty("crc32c");
    }
    // A damaged part is sent again, a damaged object that is there is an error.
    proxy.failNext("damaged", ({ path }) => path.includes("partNumber=2"));
    const body = await makeFile(3);
    await store.create("y", body);
    expect(formatCrc(crc32c(await store.read("y")))).toBe(body.crc32c);
    proxy.failNext("damaged", ({ method }) => method === "PUT");
    await expect(store.create("z", await makeFile(1))).rejects.toSatisfy((e) => isSluiceError(e, "store"));
  });

  it.each([
    [true, ["HEAD", "DELETE", "DELETE", "DELETE"]],
    [false, ["HEAD", "DELETE", "HEAD", "DELETE"]],
  ])(
    "removes by version; a server that honours If-Match (%s) is asked once",
    async (deletesByVersion, expected) => {
      const fake = await startFake({ deletesByVersion });
      const store = open();
      const stored = await Promise.all(["a", "b"].map((name) => store.replace(name, Buffer.from(name))));
      fake.requests.length = 0;
      for (const { name, version } of stored) await store.remove(name, version);
      expect(fake.requests.map((request) => request.split(" ")[0])).toEqual(expected);
      expect(fake.objects.size).toBe(0);
      const { version } = await store.replace("c", Buffer.from("c"));
      await store.replace("c", Buffer.from("d"));
      await store.remove("c", version);
      expect(fake.objects.size).toBe(1);
    },
  );

  it("lists unfinished uploads over pages, and gives them up", async () => {
    const fake = await startFake({ pageSize: 2 });
    const add = (id: string, key: string) =>
      fake.uploads.set(id, { id, key, metadata: {}, parts: new Map() });
    for (const id of ["1", "2", "3"]) add(id, "run/tpu_0/a b+ü");
    add("4", "run/tpu_0/b");
    add("5", "other/tpu_0/b");
    add("6", "runs/tpu_0/b");
    const store = open();
    const found = [];
    for await (const upload of store.uploads.list("tpu_0/")) found.push(upload);
    expect(found.map(({ name, id }) => `${name} ${id}`)).toEqual([
      "tpu_0/a b+ü 1",
      "tpu_0/a b+ü 2",
      "tpu_0/a b+ü 3",
      "tpu_0/b 4",
    ]);
    for (const upload of [...found, ...found]) await store.uploads.abort(upload);
    expect([...fake.uploads.keys()]).toEqual(["5", "6"]);
  });

  it("reads again what was cut short", async () => {
    const fake = await startFake();
    const proxy = await FaultyProxy.start(fake.url);
    clean.push(() => proxy.close());
    process.env.AWS_ENDPOINT_URL = proxy.url;
    const notes: RetryNote[] = [];
    const store = open({ onRetry: (note) => notes.push(note) });
    await store.create("x", Buffer.alloc(100_000, 7));
    proxy.failNext("torn", ({ method }) => method === "GET", 2);
    expect(await store.read("x", { start: 10, end: 90_010 })).toEqual(new Uint8Array(90_000).fill(7));
    expect(notes.map(({ request }) => request)).toEqual(["read s3://bucket/run/x", "read s3://bucket/run/x"]);
  });

  it("leaves a read that has stalled, closes its connection, and reads again", async () => {
    let gone = () => {};
    const left = new Promise<void>((resolve) => {
      gone = resolve;
    });
    let isFirst = true;
    const server = createServer((request, response) => {
      response.writeHead(200, { "content-length": 10, etag: '"e"' });
      if (!isFirst) response.end("0123456789");
      else request.socket.once("close", gone);
      if (isFirst) response.write("01234");
      isFirst = false;
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    clean.push(async () => void server.close());
    const { port } = server.address() as AddressInfo;
    Object.assign(process.env, (await startFake()).env, { AWS_ENDPOINT_URL: `http://127.0.0.1:${port}` });
    expect(Buffer.from(await open({ stallMs: 1000 }).read("x")).toString()).toBe("0123456789");
    await left;
  });

  it("does not list what no run can have made", async () => {
    const fake = await startFake();
    const object = { bytes: Buffer.of(), etag: "0", metadata: {}, crc32c: undefined };
    for (const key of ["run/", "run/tpu_0/", "run/a//b", "run/../x", "run/a", "runaway"])
      fake.objects.set(key, object);
    const found = [];
    for await (const { name } of open().list("")) found.push(name);
    expect(found).toEqual(["a"]);
  });

  describe("errors", () => {
    const anySecret = /a-secret-that-nobody|AKIAFAKE|AWS4-HMAC|X-Amz/i;
    it.each([
      [404, "NoSuchBucket", "config", "there is no bucket s3://bucket"],
      [403, "InvalidAccessKeyId", "config", "does not accept the credentials"],
      [403, "SignatureDoesNotMatch", "config", "does not accept the credentials"],
      [400, "ExpiredToken", "config", "have expired"],
      [403, "AccessDenied", "config", "no permission for s3://bucket/run/x"],
      [501, "NotImplemented", "config", "lacks what Sluice needs"],
      [400, "InvalidArgument", "store", "refuses to create s3://bucket/run/x"],
    ] as const)("%d %s is a %s error", async (status, code, kind, message) => {
      const fake = await startFake();
      fake.failNext(() => true, { status, code });
      const error = await open()
        .create("x", Buffer.from("x"))
        .catch((e: unknown) => e);
      expect(isSluiceError(error, kind)).toBe(true);
      expect(String(error)).toContain(message);
      expect(`${JSON.stringify(error)}${String(error)}${(error as Error).stack}`).not.toMatch(anySecret);
      expect(fake.requests).toHaveLength(1);
    });

    it("are tried again where waiting may help, and then are the store's", async () => {
      const fake = await startFake();
      const notes: RetryNote[] = [];
      for (let i = 0; i < 20; i++) fake.failNext(() => true, { status: 503, code: "SlowDown" });
      const error = await open({ attempts: 4, onRetry: (note) => notes.push(note) })
        .create("x", Buffer.from("x"))
        .catch((e: unknown) => e);
      expect(isSluiceError(error, "store")).toBe(true);
      expect(String(error)).toMatch(
        /s3:\/\/bucket\/run\/x cannot be reached: create failed 4 times; found HTTP 503/,
      );
      expect(notes).toHaveLength(3);
    });

    it("are tried again where versitygw lost the folder under a new object", async () => {
      const fake = await startFake();
      fake.failNext(() => true, { status: 409, code: "ExistingObjectIsDirectory" });
      expect(await open().create("leases/x", Buffer.from("x"))).toMatchObject({ name: "leases/x", size: 1 });
      expect(fake.requests.map((request) => request.split(" ")[0])).toEqual(["PUT", "HEAD", "PUT"]);
    });

    it("are the store's where nobody answers", async () => {
      const fake = await startFake();
      await fake.close();
      clean.length = 0;
      const error = await open({ attempts: 2 })
        .head("x")
        .catch((e: unknown) => e);
      expect(isSluiceError(error, "store")).toBe(true);
      expect(String(error)).toContain("ECONNREFUSED");
    });

    it("say that there are no credentials", async () => {
      await startFake();
      delete process.env.AWS_ACCESS_KEY_ID;
      const error = await open()
        .head("x")
        .catch((e: unknown) => e);
      expect(isSluiceError(error, "config")).toBe(true);
      expect(String(error)).toContain("AWS_ACCESS_KEY_ID");
    });

    it.each(["s3://", "s3:///x", "s3://user:pass@bucket/x", "s3://bucket/a/../b", "s3://bucket?x=1"])(
      "refuse %s as an address",
      (uri) => {
        expect(() => new S3Store(uri)).toThrow(expect.toSatisfy((e: unknown) => isSluiceError(e, "config")));
      },
    );
  });

  it("follows a bucket to its region, once, bodies and all", async () => {
    const fake = await startFake({ region: "eu-north-1" });
    const store = open();
    const body = await makeFile(3);
    expect(await store.create("y", Buffer.alloc(300_000))).toMatchObject({ size: 300_000 });
    expect(await store.create("x", body)).toMatchObject({ crc32c: body.crc32c });
    expect(await store.head("x")).toMatchObject({ size: body.size });
    expect(fake.requests.filter((request) => request === "PUT run/y")).toHaveLength(2);
    expect(fake.requests.filter((request) => request === "HEAD run/x")).toHaveLength(3);
  });

  it("gets a role's credentials by a web identity", async () => {
    const asked: string[] = [];
    const service = createServer(async (request, response) => {
      for await (const piece of request) asked.push(String(piece));
      const credentials =
        "<AccessKeyId>role</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>session</SessionToken>" +
        `<Expiration>${new Date(Date.now() + 3_600_000).toISOString()}</Expiration>`;
      response.end(
        '<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>' +
          `<Credentials>${credentials}</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`,
      );
    });
    await new Promise<void>((resolve) => service.listen(0, "127.0.0.1", resolve));
    clean.push(async () => void service.close());
    const fake = await startFake();
    const token = join(folder, "token");
    await writeFile(token, "a-token");
    delete process.env.AWS_ACCESS_KEY_ID;
    delete process.env.AWS_SECRET_ACCESS_KEY;
    const role = {
      AWS_WEB_IDENTITY_TOKEN_FILE: token,
      AWS_ROLE_ARN: "arn:aws:iam::123456789012:role/x",
      AWS_ENDPOINT_URL_STS: `http://127.0.0.1:${(service.address() as AddressInfo).port}`,
    };
    Object.assign(process.env, role);
    try {
      const sessions: unknown[] = [];
      const note = ({ headers }: FakeRequest) => sessions.push(headers["x-amz-security-token"]) > 0;
      fake.beforeNext(note, () => {});
      expect(await open().create("x", Buffer.from("x"))).toMatchObject({ size: 1 });
      expect(sessions).toEqual(["session"]);
      expect(asked.join("")).toContain("WebIdentityToken=a-token");
    } finally {
      for (const name of Object.keys(role)) delete process.env[name];
    }
  });

  it("finds its server by a profile too", async () => {
    const fake = await startFake();
    const config = join(folder, "config");
    await writeFile(
      config,
      `[profile other]\nregion = eu-central-1\nendpoint_url = ${fake.url}\naws_access_key_id = a\naws_secret_access_key = b\n`,
    );
    for (const name of Object.keys(fake.env)) delete process.env[name];
    Object.assign(process.env, { AWS_PROFILE: "other", AWS_CONFIG_FILE: config });
    try {
      expect(await open().create("x", Buffer.from("x"))).toMatchObject({ size: 1 });
      expect(fake.objects.has("run/x")).toBe(true);
    } finally {
      delete process.env.AWS_PROFILE;
      process.env.AWS_CONFIG_FILE = "/dev/null";
    }
  });
});
