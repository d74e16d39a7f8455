// Readers over a store that is far away: several requests under way, no byte read twice, and no more of them than are needed.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { crc32c } from "@node-rs/crc32";
import { expect, it } from "vitest";
import { formatCrc } from "../../src/base/crc.js";
import { exportRun } from "../../src/read/export.js";
import { inspectCommits } from "../../src/read/inspect.js";
import { openRunForReading } from "../../src/read/open-run.js";
import { readStatus } from "../../src/read/status.js";
import { isBroken, verifyRun } from "../../src/read/verify.js";
import { FileStore } from "../../src/store/file.js";
import type { Store } from "../../src/store/store.js";
import { runSluice, smallRun, temporaryFolder, tokenRecords, writeJsonl } from "../helpers.js";

const LATENCY_MS = 20;

/** A folder as if it were far away: every request takes its time, and is counted. */
function openFar(folder: string, knowsSums: boolean) {
  const near = new FileStore(folder);
  const seen = {
    requests: 0,
    peak: 0,
    now: 0,
    /** Requests that were under way when each began, itself among them, all together: it is no matter of time. */
    together: 0,
    /** Bytes read of each data object. */
    data: new Map<string, number>(),
  };
  const ask = async <T>(call: () => Promise<T>): Promise<T> => {
    seen.requests += 1;
    seen.now += 1;
    seen.together += seen.now;
    seen.peak = Math.max(seen.peak, seen.now);
    await sleep(LATENCY_MS);
    return call().finally(() => {
      seen.now -= 1;
    });
  };
  const store: Store = {
    uri: "far:",
    create: () => Promise.reject(new Error("a reader creates nothing")),
    replace: () => Promise.reject(new Error("a reader replaces nothing")),
    remove: () => Promise.reject(new Error("a reader removes nothing")),
    head: (name) =>
      ask(async () => {
        const stored = await near.head(name);
        return stored && knowsSums ? { ...stored, crc32c: formatCrc(crc32c(await near.read(name))) } : stored;
      }),
    read: (name, range) =>
      ask(async () => {
        const bytes = await near.read(name, range);
        if (name.endsWith(".safetensors")) seen.data.set(name, (seen.data.get(name) ?? 0) + bytes.length);
        return bytes;
      }),
    list: (prefix) => near.list(prefix),
  };
  return { store, seen };
}

it("reads what it must, in parallel", async () => {
  const folder = await temporaryFolder();
  const dataset = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(256));
  const run = join(folder, "run");
  expect(await runSluice(smallRun(dataset, run))).toMatchObject({ code: 0 });
  const sizes: Record<string, number> = {};
  for await (const { name, size } of new FileStore(run).list("tpu_"))
    if (name.endsWith(".safetensors")) sizes[name] = size;
  const shards = Object.keys(sizes).length;
  expect(shards).toBe(32);
  const bytesRead = ({ data }: ReturnType<typeof openFar>["seen"]) =>
    [...data.values()].reduce((a, b) => a + b, 0);
  const total = Object.values(sizes).reduce((a, b) => a + b, 0);

  // Every byte of every shard once: two requests a unit, its commit and its data.
  const deep = openFar(run, true);
  const progress: number[][] = [];
  const proof = await verifyRun(await openRunForReading(deep.store), {
    deep: true,
    onProgress: (...numbers) => progress.push(numbers),
  });
  expect(proof).toMatchObject({ complete: true, records: 256, deep: true });
  expect(Object.fromEntries(deep.seen.data)).toEqual(sizes);
  expect(progress.at(-1)).toEqual([shards, shards, total]);
  expect(deep.seen.requests).toBeLessThanOrEqual(2 * shards + 5);
  expect(deep.seen.peak).toBeGreaterThanOrEqual(16);
  expect(deep.seen.together / deep.seen.requests).toBeGreaterThan(4);

  // The store's own checksums make reading needless.
  const shallow = openFar(run, true);
  const quick = await verifyRun(await openRunForReading(shallow.store), { deep: false });
  expect({ ...quick, deep: true }).toEqual(proof);
  expect(bytesRead(shallow.seen)).toBe(0);
  expect(shallow.seen.requests).toBeLessThanOrEqual(2 * shards + 5);
  // Without them the samples are looked at, and nothing else: 12 bytes each.
  const unsummed = openFar(run, false);
  expect(await verifyRun(await openRunForReading(unsummed.store), { deep: false })).toEqual(quick);
  expect(bytesRead(unsummed.seen)).toBe(256 * 12);

  const status = openFar(run, true);
  expect((await readStatus(await openRunForReading(status.store))).complete).toBe(true);
  expect(bytesRead(status.seen)).toBe(0);

  // One shard's index, and the rows shown.
  const inspect = openFar(run, true);
  const readable = await openRunForReading(inspect.store);
  const [tap = ""] = readable.run.identity.taps;
  const options = { samples: 1, wanted: { record: 100 }, taps: [tap], rows: 4 };
  expect((await inspectCommits(readable, readable.log.commits(), options)).first).toMatchObject([
    { record: 100 },
  ]);
  expect([...inspect.seen.data.keys()]).toEqual(["tpu_0/shard_0013.safetensors"]);
  expect(bytesRead(inspect.seen)).toBeLessThan((sizes["tpu_0/shard_0013.safetensors"] ?? 0) / 2);

  // One layer is that layer's ranges, and the index.
  const far = openFar(run, true);
  const to = join(folder, "far");
  await exportRun(await openRunForReading(far.store), { to: "npy", folder: to, taps: [tap] });
  expect(far.seen.together / far.seen.requests).toBeGreaterThan(4);
  expect(bytesRead(far.seen)).toBeLessThan(total / 2);
  await exportRun(await openRunForReading(new FileStore(run)), {
    to: "npy",
    folder: join(folder, "near"),
    taps: [tap],
  });
  for (const name of [tap, "sample_offsets"]) {
    const [a, b] = await Promise.all(
      [to, join(folder, "near")].map((at) => readFile(join(at, `${name}.npy`))),
    );
    expect(a?.equals(b ?? Buffer.alloc(0))).toBe(true);
  }
});

it("names the tensor that is damaged, and believes a store's checksum that is another", async () => {
  const folder = await temporaryFolder();
  const dataset = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(16));
  const run = join(folder, "run");
  await runSluice(smallRun(dataset, run));
  const name = "tpu_0/shard_0002.safetensors";
  const disk = new FileStore(run);
  const bytes = await disk.read(name);
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
  await disk.replace(name, bytes);
  const verify = async (deep: boolean) =>
    verifyRun(await openRunForReading(openFar(run, true).store), { deep });
  const shallow = await verify(false);
  expect(isBroken(shallow)).toBe(true);
  expect(shallow.corrupt).toEqual([
    { name, reason: expect.stringMatching(/^CRC32C \w{8} by what the store says/) },
  ]);
  expect((await verify(true)).corrupt).toEqual([
    { name, reason: "not as committed: its SHA-256, its CRC32C, tensor sample_info" },
  ]);
});
