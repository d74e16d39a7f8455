// `sluice gc`: what no commit names goes, of a complete run; and nothing else, whoever sleeps through it.

import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { ownProcess } from "../src/base/process-identity.js";
import { collectGarbage, type GcOptions } from "../src/read/gc.js";
import { openRunForReading } from "../src/read/open-run.js";
import { isBroken, verifyRun } from "../src/read/verify.js";
import { FileStore } from "../src/store/file.js";
import { nodeFileSystem } from "../src/store/file-system.js";
import { MemoryStore } from "../src/store/memory.js";
import type { Store, Stored, UnfinishedUpload } from "../src/store/store.js";
import { temporaryName } from "../src/store/temporary.js";
import { runSluice, temporaryFolder } from "./helpers.js";
import { closeWorkshop, openWorkshop, type Workshop, work } from "./in-process.js";

const DATA = "tpu_0/shard_0001.safetensors";
const NEVER_WAIT = { wait: () => Promise.reject(new Error("waited")) };
let folder: string;
let workshop: Workshop;
let store: MemoryStore;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "sluice-test-"));
  workshop = await openWorkshop(folder);
});
afterAll(async () => {
  await closeWorkshop(workshop);
  await rm(folder, { recursive: true });
});
beforeEach(async () => {
  store = new MemoryStore();
});

async function makeRun(at: Store = store, speed = 1): Promise<void> {
  expect(await work(workshop, { store: at, spool: await temporaryFolder(), uuid: "maker", speed })).toBe(
    "complete",
  );
}

const collect = (changes: Partial<GcOptions> = {}, at: Store = store) =>
  collectGarbage(at, { dryRun: false, look: NEVER_WAIT, ...changes });

async function names(at: Store = store): Promise<string[]> {
  const found: string[] = [];
  for await (const { name } of at.list("")) found.push(name);
  return found;
}

async function expectIntact(at: Store = store): Promise<void> {
  const report = await verifyRun(await openRunForReading(at), { deep: true });
  expect({ complete: report.complete, isBroken: isBroken(report) }).toEqual({
    complete: true,
    isBroken: false,
  });
}

async function put(name: string, body: Uint8Array | string, at: Store = store): Promise<void> {
  expect(await at.create(name, Buffer.from(body))).not.toBe("exists");
}

async function drop(name: string): Promise<void> {
  await store.remove(name, (await store.head(name))?.version ?? "");
}

/** The bytes of a shard that says it is of another run. */
async function foreignData(): Promise<Uint8Array> {
  const bytes = Buffer.from(await store.read(DATA));
  const { run } = await openRunForReading(store);
  bytes.write("0".repeat(run.run.length), bytes.indexOf(run.run));
  return bytes;
}

it("removes what no commit names, and leaves alone what is not the run's", async () => {
  await makeRun();
  const before = await names();
  const orphan = await store.read(DATA);
  await put("tpu_0/alt/shard_0001-0a1b2c3d.safetensors", orphan);
  await put("leases/tpu_0/shard_0002.3", JSON.stringify({ worker: "gone", process: null }));
  await put("leases/tpu_1/shard_0001.failed.1", "{}");
  await put("leases/create.0", "torn");
  await put("tpu_0/commits/0a1b2c3d-0000-4000-8000-000000000000.json", "a note");
  const strange = {
    "leases/notes": "not a name that this run gives",
    "tpu_0/alt/shard_0001-ffffffff.safetensors": "of another run, 000000000000",
    "tpu_0/alt/shard_0002-ffffffff.safetensors": "it does not say of which run it is",
    "tpu_0/alt/shard_0002-ffffffff.pkl.gz": "it does not say of which run it is",
    "tpu_0/commits/notes.txt": "not a name that this run gives",
    "tpu_0/notes.txt": "not a name that this run gives",
    "tpu_0/shard_00001.safetensors": "not a name that this run gives",
    "tpu_0/shard_0099.json": "a commit of no unit of this run",
    "tpu_7/shard_0001.safetensors": "not a name that this run gives",
    "workers/torn.json": "not a heartbeat that can be read",
  };
  for (const name of Object.keys(strange))
    await put(
      name,
      name.endsWith("-ffffffff.safetensors") && name.includes("1-") ? await foreignData() : "x",
    );
  const garbage = [
    { name: "leases/create.0", kind: "lease" },
    { name: "leases/tpu_0/shard_0002.3", kind: "lease" },
    { name: "leases/tpu_1/shard_0001.failed.1", kind: "failure" },
    { name: "tpu_0/alt/shard_0001-0a1b2c3d.safetensors", kind: "data", size: orphan.length },
    { name: "tpu_0/commits/0a1b2c3d-0000-4000-8000-000000000000.json", kind: "note" },
    { name: "workers/maker.json", kind: "heartbeat" },
  ];
  const all = await names();
  const planned = await collect({ dryRun: true });
  expect(await names()).toEqual(all);
  const report = await collect();
  const sorted = [...report.removed].sort((a, b) => (a.name < b.name ? -1 : 1));
  expect(sorted).toMatchObject(garbage);
  expect(planned).toEqual({ ...report, dry_run: true });
  expect(report.bytes).toBeGreaterThan(orphan.length);
  expect(Object.fromEntries(report.kept.map(({ name, reason }) => [name, reason]))).toEqual(strange);
  const wanted = before.filter((name) => name !== "workers/maker.json");
  expect(await names()).toEqual([...wanted, ...Object.keys(strange)].sort());
  for (const name of ["tpu_0/shard_0099.json"])
    await store.remove(name, (await store.head(name))?.version ?? "");
  await expectIntact();
  expect(await collect()).toMatchObject({ removed: [], bytes: 0 });
});

it("removes nothing of a run that is not complete, or whose data are not whole", async () => {
  await makeRun();
  await put("tpu_0/alt/shard_0001-0a1b2c3d.safetensors", await store.read(DATA));
  const whole = await names();
  const bytes = await store.read(DATA);
  await drop(DATA);
  await expect(collect()).rejects.toMatchObject({ kind: "data", message: expect.stringContaining(DATA) });
  await put(DATA, bytes.subarray(1));
  await expect(collect()).rejects.toMatchObject({ kind: "data", message: expect.stringContaining(DATA) });
  expect(await names()).toEqual(whole);
  await drop("tpu_1/shard_0001.json");
  await expect(collect()).rejects.toMatchObject({
    kind: "data",
    message: expect.stringMatching(/is not complete: nothing was removed; found 2 of 3 units/),
  });
  expect(await names()).toEqual(whole.filter((name) => name !== "tpu_1/shard_0001.json"));
  await expect(collect({}, new MemoryStore())).rejects.toMatchObject({ kind: "config" });
});

/** A store that lets a test in before one of its calls. */
function before(at: Store, call: keyof Store, name: string, act: () => Promise<unknown>): Store {
  let acted = false;
  return new Proxy(at, {
    get(target, key) {
      const value: unknown = Reflect.get(target, key, target);
      if (typeof value !== "function") return value;
      return (...args: unknown[]) => {
        const go = () => Reflect.apply(value, target, args) as unknown;
        if (key !== call || args[0] !== name || acted) return go();
        acted = true;
        return act().then(go);
      };
    },
  });
}

it("lets a worker lose that slept through it, between its data and its commit", async () => {
  // The sleeper's hardware rounds otherwise: its data take the unit's name, and the winner's go to alt/.
  const flip: NonNullable<Parameters<typeof work>[1]["wrap"]> = (runner) => ({
    start: () => runner.start(),
    stop: () => runner.stop(),
    compute: async (job, spool, onProgress) => {
      const result = await runner.compute(job, spool, onProgress);
      const bytes = await readFile(spool);
      const at = job.places[0] ?? 0;
      bytes[at] = (bytes[at] ?? 0) ^ 1;
      await writeFile(spool, bytes);
      return result;
    },
  });
  let slept: Awaited<ReturnType<typeof collect>> | undefined;
  const sleeper = before(store, "create", "tpu_0/shard_0001.json", async () => {
    await makeRun(store, 200); // It has to find the sleeper silent.
    slept = await collect();
  });
  await work(workshop, { store: sleeper, spool: await temporaryFolder(), uuid: "sleeper", wrap: flip });
  expect(slept?.removed.filter(({ kind }) => kind === "data")).toMatchObject([{ name: DATA }]);
  const commit: unknown = JSON.parse(Buffer.from(await store.read("tpu_0/shard_0001.json")).toString());
  expect(commit).toMatchObject({ by: { worker: "maker" }, data: expect.stringMatching(/^alt\//) });
  await expectIntact();
});

it("removes nothing that changed while it slept", async () => {
  await makeRun();
  const orphan = "tpu_0/alt/shard_0001-0a1b2c3d.safetensors";
  await put(orphan, await store.read(DATA));
  // Another object by the same name.
  await collect(
    {},
    before(store, "remove", orphan, () => store.replace(orphan, Buffer.from("new"))),
  );
  expect(await store.head(orphan)).not.toBeNull();
  await store.replace(orphan, await store.read(DATA));
  // Somebody makes the unit anew, and commits the orphan.
  const commit = JSON.parse(Buffer.from(await store.read("tpu_0/shard_0001.json")).toString());
  const adopted = Buffer.from(JSON.stringify({ ...commit, data: orphan.slice("tpu_0/".length) }));
  const changing = before(store, "read", orphan, () => store.replace("tpu_0/shard_0001.json", adopted));
  await expect(collect({}, changing)).rejects.toMatchObject({
    kind: "data",
    message: expect.stringContaining("changed while gc ran"),
  });
  expect(await store.head(orphan)).not.toBeNull();
});

it("spares what a living worker holds, and aborts unfinished uploads when nobody lives", async () => {
  await makeRun();
  const pending: UnfinishedUpload[] = [
    { name: "tpu_0/alt/shard_0001-0a1b2c3d.safetensors", id: "a" },
    { name: "tpu_0/somebody.else", id: "b" },
  ];
  const aborted: string[] = [];
  Object.defineProperty(store, "uploads", {
    value: {
      list: async function* (prefix: string) {
        expect(prefix).toBe("tpu_");
        yield* pending;
      },
      abort: async ({ id }: UnfinishedUpload) => void aborted.push(id),
    },
  });
  const beat = JSON.parse(Buffer.from(await store.read("workers/maker.json")).toString());
  const living = { ...beat, uuid: "living", status: "running", process: ownProcess(), at: new Date() };
  await put("workers/living.json", JSON.stringify(living));
  await put("leases/tpu_0/shard_0001.0", JSON.stringify({ worker: "living", process: null }));
  expect((await collect()).removed.map(({ name }) => name)).toEqual(["workers/maker.json"]);
  expect(aborted).toEqual([]);
  await store.replace("workers/living.json", Buffer.from(JSON.stringify({ ...living, status: "complete" })));
  expect((await collect()).removed.map(({ kind }) => kind)).toEqual(["heartbeat", "lease", "upload"]);
  expect(aborted).toEqual(["a"]);
});

it("stops where it is told to", async () => {
  await makeRun();
  const abort = new AbortController();
  abort.abort(new Error("enough"));
  await expect(collect({ signal: abort.signal })).rejects.toThrow("enough");
  expect(await names()).toContain("workers/maker.json");
});

it("cleans a folder, by the command line", async () => {
  const run = join(await temporaryFolder(), "run");
  const disk = new FileStore(run);
  await makeRun(disk);
  const orphan = "tpu_0/alt/shard_0001-0a1b2c3d.safetensors";
  await put(orphan, await disk.read(DATA), disk);
  const mine = join(disk.spool, temporaryName());
  const dead = join(disk.spool, temporaryName().replace(/_(\d+)_(\d+)_([0-9a-f]+)$/, "_4194999_$2_$3"));
  for (const path of [mine, dead]) await writeFile(path, "12345");
  const dry = await runSluice(["gc", run, "--dry-run"]);
  expect(dry).toMatchObject({ code: 0, stderr: "" });
  expect(dry.stdout).toContain(`would remove ${orphan} (data of no commit, `);
  expect(dry.stdout).toMatch(/3 objects would be removed, .* in all\n$/);
  const real = await runSluice(["gc", run, "--json"]);
  expect(JSON.parse(real.stdout)).toMatchObject({
    dry_run: false,
    removed: [{ kind: "data" }, { kind: "heartbeat" }, { kind: "temporary", size: 5 }],
  });
  expect(await nodeFileSystem.list(disk.spool)).toEqual([mine.slice(disk.spool.length + 1)]);
  await expectIntact(disk);
  expect((await runSluice(["gc", run])).stdout).toBe("nothing to remove\n");
  const commit = await disk.head("tpu_0/shard_0001.json");
  await disk.remove("tpu_0/shard_0001.json", (commit as Stored).version);
  expect(await runSluice(["gc", run])).toMatchObject({
    code: 65,
    stderr: expect.stringContaining("is not complete: nothing was removed"),
  });
});
