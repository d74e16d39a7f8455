// When is a taken name the same data? The same bytes always; for a compressed format the same content, whichever version of
// the compressor made them, and whatever their comment says.

import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { deflateRawSync } from "node:zlib";
import { crc32 } from "@node-rs/crc32";
import { afterAll, beforeAll, expect, it } from "vitest";
import { hashFile } from "../shard/hash.js";
import { pickleFormat } from "../shard/pkl-gz.js";
import { Faults, FaultyStore } from "../store/faulty.js";
import { MemoryStore } from "../store/memory.js";
import type { Body } from "../store/store.js";
import type { Commit } from "./commit.js";
import { createData, type FinishedData } from "./create-data.js";

const UNIT = { stream: 0, index: 0, from: 0, to: 8 };
const USUAL = "tpu_0/shard_0001.pkl.gz";
const content = Buffer.alloc(3 << 20, "some rows of a shard, which compress well; ");
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const COMMENT = `sluice run ab unit tpu_0/shard_0001 size ${content.length} sha256 ${sha256(content)}`;

let folder: string;
let data: FinishedData;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "sluice-data-"));
  const { compression } = pickleFormat;
  if (!compression) throw new Error("pkl.gz is compressed");
  const [laidOut, file] = [join(folder, "x"), join(folder, "x.z")];
  await writeFile(laidOut, content);
  await compression.compress(laidOut, file, COMMENT);
  const hash = await hashFile(file, []);
  data = {
    file,
    hash,
    extension: ".pkl.gz",
    compressed: { compression, comment: COMMENT, sha256: sha256(content) },
  };
});
afterAll(() => rm(folder, { recursive: true }));

/** gzip of other effort, as another version of zlib might make it. */
function otherGzip(body: Uint8Array, comment: string): Buffer {
  const trailer = Buffer.alloc(8);
  trailer.writeUInt32LE(crc32(body), 0);
  trailer.writeUInt32LE(body.length, 4);
  const header = Buffer.from([0x1f, 0x8b, 8, 0x10, 0, 0, 0, 0, 0, 0xff]);
  return Buffer.concat([header, Buffer.from(`${comment}\0`), deflateRawSync(body, { level: 9 }), trailer]);
}

async function createOver(taken: Uint8Array | undefined) {
  const store = new MemoryStore();
  if (taken) await store.create(USUAL, taken);
  const created = await createData(store, UNIT, data, null);
  const stored = await store.read(`tpu_0/${created.name}`);
  // Whatever is there: the hash that goes into the commit is that of the bytes it names.
  expect(created.hash).toMatchObject({ size: stored.length, sha256: sha256(stored) });
  expect(created.hash.crc32c).toBe((await store.head(`tpu_0/${created.name}`))?.crc32c);
  return created.name;
}

it("takes a free name, and one that holds the same bytes", async () => {
  expect(await createOver(undefined)).toBe("shard_0001.pkl.gz");
  expect(await createOver(await readFile(data.file))).toBe("shard_0001.pkl.gz");
});

it("takes other bytes of the same content, and their hash", async () => {
  const other = otherGzip(content, COMMENT);
  expect(other.equals(await readFile(data.file))).toBe(false);
  expect(await createOver(other)).toBe("shard_0001.pkl.gz");
});

it("never believes a comment", async () => {
  const changed = Buffer.from(content);
  changed[1 << 20] = (changed[1 << 20] ?? 0) ^ 1;
  const alternative = `alt/shard_0001-${data.hash.sha256.slice(0, 8)}.pkl.gz`;
  expect(await createOver(otherGzip(changed, COMMENT)), "a comment that lies").toBe(alternative);
  expect(await createOver(otherGzip(content, COMMENT).subarray(0, -9)), "a torn end").toBe(alternative);
  expect(await createOver(otherGzip(content, COMMENT.replace("ab", "cd"))), "another run").toBe(alternative);
  expect(await createOver(Buffer.from("no gzip")), "something else").toBe(alternative);
});

it("data that is made again takes the place of what was committed, and of nothing else", async () => {
  const store = new MemoryStore();
  const committed = { stream: 0, data: "shard_0001.pkl.gz", sha256: data.hash.sha256 } as Commit;
  expect(await createData(store, UNIT, data, committed)).toMatchObject({ name: "shard_0001.pkl.gz" });
  expect(await createData(store, UNIT, data, committed)).toMatchObject({ name: "shard_0001.pkl.gz" });
  const taken = new MemoryStore();
  await taken.create(USUAL, otherGzip(Buffer.from("rows of another machine"), COMMENT));
  await expect(createData(taken, UNIT, data, committed)).rejects.toThrow("holds other bytes than its commit");
  const others = { ...committed, sha256: "0".repeat(64) };
  await expect(createData(store, UNIT, data, others)).rejects.toThrow("this machine makes other bytes");
});

it("looks once at a name that is taken by other bytes", async () => {
  const calls = new Faults();
  const store = new MemoryStore();
  await store.create(USUAL, Buffer.from("no gzip"));
  const { compressed: _, ...plain } = data;
  await createData(new FaultyStore(store, calls), UNIT, plain, null);
  expect(calls.calls.filter((call) => call === `head ${USUAL}`)).toHaveLength(1);
});

it("a name that was taken and is free when it is looked at (a gc, while this worker slept) is tried again", async () => {
  class Swept extends MemoryStore {
    left = 0;
    override async create(...args: Parameters<MemoryStore["create"]>) {
      return this.left-- > 0 ? "exists" : super.create(...args);
    }
  }
  const store = new Swept();
  store.left = 2;
  expect(await createData(store, UNIT, data, null)).toMatchObject({ name: "shard_0001.pkl.gz" });
  expect((await store.head(USUAL))?.size).toBe(data.hash.size);
  store.left = Number.POSITIVE_INFINITY;
  const other = { ...UNIT, index: 1 };
  await expect(createData(store, other, data, null)).rejects.toThrow("removed as often as it is there");
});

it("ends the upload when it is told to, and looking at what is there too", async () => {
  const stop = new AbortController();
  const uploading = new StallingStore();
  const created = createData(uploading, UNIT, data, null, stop.signal);
  await uploading.begun;
  stop.abort(new Error("leave now"));
  await expect(created).rejects.toThrow("leave now");

  const taken = new MemoryStore();
  await taken.create(USUAL, Buffer.alloc(data.hash.size));
  await expect(createData(taken, UNIT, data, null, stop.signal)).rejects.toThrow("leave now");
});

/** A store whose uploads come to no end of their own. */
class StallingStore extends MemoryStore {
  #begin = () => {};
  readonly begun = new Promise<void>((resolve) => {
    this.#begin = resolve;
  });

  override create(_name: string, _body: Body, { signal }: { signal?: AbortSignal } = {}): Promise<never> {
    this.#begin();
    return new Promise((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason)));
  }
}
