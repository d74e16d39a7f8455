import { mkdir, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { SluiceError } from "../base/errors.js";
import { FileStore } from "../store/file.js";
import { MemoryStore } from "../store/memory.js";
import type { Body, Store } from "../store/store.js";
import { checkStore } from "./check-store.js";
import { exitCodeOf } from "./doctor.js";
import type { Finding } from "./finding.js";

let folder: string;
/** Names that the store of a test has seen, through whichever opening. */
const namesTaken = new Set<string>();
beforeEach(async () => {
  namesTaken.clear();
  folder = await mkdtemp(join(tmpdir(), "sluice-doctor-test-"));
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true, force: true });
});

/** A bucket that all openings share. */
function openBucket(change: (memory: MemoryStore) => Partial<Store> = () => ({})) {
  const memory = new MemoryStore();
  const opened: string[] = [];
  const open = (uri: string): Store => {
    opened.push(uri);
    return { uri, ...bind(memory), ...change(memory) };
  };
  return { memory, open, opened };
}

/** A class's methods with its private fields. */
function bind(memory: MemoryStore): Omit<Store, "uri"> {
  return {
    create: (name, body, options) => memory.create(name, body, options),
    replace: (name, body, options) => memory.replace(name, body, options),
    head: (name) => memory.head(name),
    read: (name, range) => memory.read(name, range),
    list: (prefix) => memory.list(prefix),
    remove: (name, version) => memory.remove(name, version),
  };
}

async function bytesOf(body: Body): Promise<Uint8Array> {
  if (body instanceof Uint8Array) return body;
  return readFile(body.file);
}

async function check(open: (uri: string) => Store, signal?: AbortSignal): Promise<Finding[]> {
  const findings: Finding[] = [];
  for await (const finding of checkStore({ output: "s3://bucket/run/", open, signal }))
    findings.push(finding);
  return findings;
}

async function namesIn(memory: MemoryStore): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of memory.list("")) names.push(name);
  return names;
}

const failures = (findings: readonly Finding[]) => findings.filter(({ state }) => state === "failure");

it("proves an honest store, in a place of its own, and leaves nothing", async () => {
  const { memory, open, opened } = openBucket();
  const findings = await check(open);
  const upload = findings.at(-1);
  expect(findings.slice(0, -1).map(({ state }) => state)).toEqual(["ok", "ok", "ok", "ok"]);
  // How fast it goes is the machine's doing.
  expect(upload?.state).toBe(Number(upload?.values?.upload_mb_per_second) >= 10 ? "ok" : "warning");
  expect(findings.map(({ text }) => text).join("\n")).toMatch(
    /in 24 races .* exactly one won[\s\S]*large objects: of two writers of 17 MiB exactly one won[\s\S]*MB\/s/,
  );
  expect(await namesIn(memory)).toEqual([]);
  expect(new Set(opened).size).toBe(1);
  expect(opened[0]).toMatch(/^s3:\/\/bucket\/run\/doctor-[0-9a-f-]{36}$/);
  expect(exitCodeOf(findings)).toBe(0);
});

it("proves a folder, and takes away also the parents that it made", async () => {
  const findings: Finding[] = [];
  for await (const finding of checkStore({ output: join(folder, "a/b"), open: (uri) => new FileStore(uri) }))
    findings.push(finding);
  expect(failures(findings)).toEqual([]);
  expect(findings.map(({ text }) => text).join("\n")).toMatch(
    /hard links[\s\S]*are free in[\s\S]*made durable/,
  );
  expect(await readdir(folder)).toEqual([]);
  await mkdir(join(folder, "run"));
  for await (const _ of checkStore({ output: join(folder, "run"), open: (uri) => new FileStore(uri) }));
  expect(await readdir(folder)).toEqual(["run"]);
});

it.each<[string, (memory: MemoryStore) => Partial<Store>, RegExp]>([
  [
    "accepts the condition and ignores it",
    (memory) => ({ create: async (name, body) => memory.replace(name, await bytesOf(body)) }),
    /create-only does not hold: both of two writers were told that they had created race-/,
  ],
  [
    "looks first, and writes without a lock",
    (memory) => ({
      create: async (name, body) => {
        if (await memory.head(name)) return "exists";
        await sleep(2);
        return memory.replace(name, await bytesOf(body));
      },
    }),
    /create-only does not hold: both of two writers/,
  ],
  [
    "does so with large objects only",
    (memory) => ({
      create: async (name, body) =>
        body instanceof Uint8Array ? memory.create(name, body) : memory.replace(name, await bytesOf(body)),
    }),
    /create-only does not hold for large objects: both of two writers/,
  ],
  [
    "says that the name is taken, and overwrites it",
    (memory) => {
      const taken = (name: string) => namesTaken.has(name) || !namesTaken.add(name);
      return {
        create: async (name, body) => {
          const isLate = taken(name);
          const stored = await memory.replace(name, await bytesOf(body));
          return isLate ? "exists" : stored;
        },
      };
    },
    /create-only does not hold: race-\d+ (does not hold the bytes of the writer|was overwritten by a writer)/,
  ],
])("finds a store that %s", async (_what, change, text) => {
  const { memory, open } = openBucket(change);
  const findings = await check(open);
  expect(failures(findings)[0]).toMatchObject({
    text: expect.stringMatching(text),
    fix: expect.stringMatching(/^Do not/),
  });
  expect(exitCodeOf(findings)).toBe(78);
  expect(await namesIn(memory)).toEqual([]);
});

it("names the permission that is lacking, and cleans up as far as it can", async () => {
  const denied = (what: string) =>
    Promise.reject(new SluiceError("config", `no permission to ${what}`, { fix: "Ask." }));
  const noCreate = await check(openBucket(() => ({ create: () => denied("create") })).open);
  expect(noCreate).toMatchObject([
    {
      state: "failure",
      kind: "config",
      text: expect.stringContaining("creating an object: no permission to create"),
      fix: expect.stringContaining("s3:PutObject"),
    },
  ]);
  const { memory, open, opened } = openBucket(() => ({ remove: () => denied("delete") }));
  const noRemove = await check(open);
  expect(failures(noRemove)).toMatchObject([
    { text: expect.stringContaining("remove: no permission to delete") },
  ]);
  expect(noRemove.at(-1)).toMatchObject({ state: "warning", fix: `Remove ${opened[0]} by hand.` });
  expect(await namesIn(memory)).toContain("verbs/a");
  const unreachable = new SluiceError("store", "the store cannot be reached");
  const gone = await check(openBucket(() => ({ create: () => Promise.reject(unreachable) })).open);
  expect(exitCodeOf(gone)).toBe(74);
});

it("cleans up when it is stopped in the middle of a race", async () => {
  vi.stubEnv("TMPDIR", folder);
  const stop = new AbortController();
  const { memory, open } = openBucket((inner) => ({
    create: async (name, body, options) => {
      if (name === "race-large") stop.abort(new Error("stopped"));
      return inner.create(name, body, options);
    },
  }));
  await expect(check(open, stop.signal)).rejects.toThrow("stopped");
  expect(await namesIn(memory)).toEqual([]);
  expect(await readdir(folder)).toEqual([]);
});
