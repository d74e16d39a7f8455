import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { FakeGcs } from "../../test/fake-gcs.js";
import { isSluiceError } from "../base/errors.js";
import { GcsStore } from "../store/gcs.js";
import { readForward } from "./data-file.js";
import { openDataset } from "./dataset.js";
import { readEveryRecord } from "./every-record.js";
import { locateDataset } from "./locate-dataset.js";
import { openRecordStream } from "./record-stream.js";
import { splitDataset } from "./split.js";

const server = new FakeGcs();
const PARQUET = fileURLToPath(new URL("../../test/fixtures/parquet/snappy.parquet", import.meta.url));
const REMOTE = "gs://bucket/data";
let folder: string;

/** Text, tables and streams, in a folder and in a bucket. */
beforeAll(async () => {
  await server.start();
  vi.stubEnv("STORAGE_EMULATOR_HOST", server.url);
  folder = await mkdtemp(join(tmpdir(), "sluice-data-"));
  const lines = (from: number, count: number) =>
    Array.from(
      { length: count },
      (_, i) => `{"id":${from + i},"text":"record ${from + i} ${"x".repeat(i % 50)}"}\n`,
    ).join("");
  const files: Record<string, string | Buffer> = {
    "a.jsonl": lines(0, 500),
    "parts/1.jsonl": lines(0, 30),
    "parts/2.jsonl": lines(30, 40),
    "parts/.hidden.jsonl": "{}\n",
    "t.csv": `id,text\n${Array.from({ length: 200 }, (_, i) => `${i},"row ${i}, quoted\nover lines"\n`).join("")}`,
    "z.jsonl.gz": gzipSync(lines(0, 500)),
    "p/x.parquet": await readFile(PARQUET),
    "none.bin": "x",
  };
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    await writeFile(join(folder, name), content);
  }
  await splitDataset({
    dataset: join(folder, "a.jsonl"),
    streams: 3,
    folder: join(folder, "streams"),
    maxSamples: undefined,
    shuffleSeed: undefined,
  });
  const store = new GcsStore(REMOTE, { emulator: server.url });
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    await store.create(path.slice(folder.length + 1), await readFile(path));
  }
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await server.stop();
  await rm(folder, { recursive: true });
});

/** All that a run reads of a dataset. */
async function readAll(path: string) {
  const { name, streams } = await openDataset(path);
  const read = streams.map(async (stream) => {
    const opened = openRecordStream(stream);
    const table = await opened.scan({ samplesPerShard: 64, maxRecords: 1e9 });
    const units = [];
    for (const unit of table.units) units.push(await opened.read(unit));
    const sampled = await opened.sample([0, Math.floor(stream.bytes / 2)]);
    const columns = await opened.columns();
    await opened.close();
    return { table, units, sampled, columns, bytes: stream.bytes };
  });
  return { name, streams: await Promise.all(read) };
}

it.each(["a.jsonl", "parts", "streams", "parts/*.jsonl", "**/[12].jsonl", "t.csv", "p/x.parquet"])(
  "is the same dataset in a bucket: %s",
  async (path) => {
    const local = await readAll(join(folder, path));
    expect(local.streams[0]?.table.records).toBeGreaterThan(0);
    expect(await readAll(`${REMOTE}/${path}`)).toEqual(local);
  },
);

it("is read forward, and decompressed on the way", async () => {
  const count = async (path: string) => {
    const { files } = await locateDataset(path);
    if (files === "streams") throw new Error("a streams folder");
    const records: string[] = [];
    for await (const record of readEveryRecord(files, ["text"])) records.push(record.toString());
    return records;
  };
  const local = await count(join(folder, "z.jsonl.gz"));
  expect(local).toHaveLength(500);
  expect(await count(`${REMOTE}/z.jsonl.gz`)).toEqual(local);
});

it.each([
  ["nothing.jsonl", /there is no dataset at gs:\/\/bucket\/data\/nothing.jsonl/],
  ["nothing/*.jsonl", /no file matches the dataset's pattern gs:/],
  ["none.bin", /is of an unknown kind/],
  ["z.jsonl.gz", /is compressed/],
])("says what is wrong with %s", async (path, message) => {
  await expect(openDataset(`${REMOTE}/${path}`)).rejects.toSatisfy(
    (e) => isSluiceError(e, "config") && message.test(e.message),
  );
});

it("is read ahead, each byte once", async () => {
  const content = Buffer.alloc(9_500_000, "0123456789 sluice");
  await new GcsStore(REMOTE, { emulator: server.url }).create("large.bin", content);
  server.counts.clear();
  const pieces: Buffer[] = [];
  for await (const piece of readForward(`${REMOTE}/large.bin`, 1 << 20)) pieces.push(piece);
  expect(Buffer.concat(pieces).equals(content)).toBe(true);
  expect(Object.fromEntries(server.counts)).toEqual({ head: 1, read: 10 });
});

it("refuses other kinds of addresses", async () => {
  await expect(openDataset("az://bucket/x.jsonl")).rejects.toThrow(/az:\/\/ stores are not in this version/);
});
