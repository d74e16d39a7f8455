// `sluice streams` from every kind of file, and datasets that are more than one file.

import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync, gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { isSluiceError } from "../base/errors.js";
import { openDataset } from "./dataset.js";
import { expandGlob } from "./globs.js";
import { splitDataset } from "./split.js";

const PARQUET = fileURLToPath(new URL("../../test/fixtures/parquet/", import.meta.url));

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "sluice-split-"));
});
afterAll(() => rm(folder, { recursive: true }));

let next = 0;
/** All records of a split into three streams, dealt back together; text as it stands in the files. */
async function split(dataset: string, columns?: readonly string[], maxSamples?: number): Promise<string[]> {
  const into = join(folder, `streams-${next++}`);
  const summary = await splitDataset({
    dataset,
    streams: 3,
    folder: into,
    columns,
    maxSamples,
    shuffleSeed: undefined,
  });
  const streams = await Promise.all(
    summary.streams.map(async ({ file }) =>
      (await readFile(join(into, file), "utf8")).split("\n").slice(0, -1),
    ),
  );
  expect(streams.map((lines) => lines.length)).toEqual(summary.streams.map(({ records }) => records));
  return Array.from({ length: summary.records }, (_, i) => streams[i % 3]?.[Math.floor(i / 3)] ?? "");
}

async function write(name: string, content: string | Buffer): Promise<string> {
  const path = join(folder, name);
  await mkdir(join(path, ".."), { recursive: true });
  await writeFile(path, content);
  return path;
}

const JSON_TEXT = '{"text":"a"}\r\n\n  \n{"text": "b", "n": 1}\nnot json\n{"text":"c"}';
const JSON_RECORDS = ['{"text":"a"}', '{"text": "b", "n": 1}', "not json", '{"text":"c"}'];
const CSV_TEXT = '\ufeffid,text\r\n1,"two\nlines, ""quoted"""\r\n2,plain\r\n';
const CSV_RECORDS = ['{"id":"1","text":"two\\nlines, \\"quoted\\""}', '{"id":"2","text":"plain"}'];

describe("streams", () => {
  it("take lines of JSON as they are, and keep columns of them where that is asked", async () => {
    const path = await write("a.jsonl", JSON_TEXT);
    expect(await split(path)).toEqual(JSON_RECORDS);
    expect(await split(path, undefined, 2)).toEqual(JSON_RECORDS.slice(0, 2));
    expect(await split(path, ["text"])).toEqual(['{"text":"a"}', '{"text":"b"}', "not json", '{"text":"c"}']);
  });

  it("refuse a column that no record has, by name, and take one that a late record has", async () => {
    const path = await write("late.jsonl", '{"text":"a"}\n[1]\nnot json\n{"text":"b","note":null}\n');
    await expect(split(path, ["text", "tex"])).rejects.toSatisfy(
      (error: unknown) =>
        isSluiceError(error, "usage") &&
        /--column names a column.*found tex; expected perhaps text/.test(error.message),
    );
    await expect(split(path, ["note"], 3)).rejects.toThrow("found note");
    expect(await split(path, ["note"])).toHaveLength(4);
  });

  it("of two commands on one folder go to one of them whole, or to both where they are the same", async () => {
    const path = await write("race.jsonl", '{"text":"a"}\n{"text":"b"}\n{"text":"c"}\n');
    const start = (into: string, streams: number) =>
      splitDataset({
        dataset: path,
        streams,
        folder: join(folder, into),
        maxSamples: undefined,
        shuffleSeed: undefined,
      });
    const same = await Promise.all([start("same", 2), start("same", 2)]);
    expect(same[0]).toEqual(same[1]);
    const ends = await Promise.allSettled([start("two", 2), start("two", 3)]);
    const won = ends.flatMap((end) => (end.status === "fulfilled" ? [end.value] : []));
    expect(won).toHaveLength(1);
    for (const end of ends)
      if (end.status === "rejected") expect(end.reason.message).toContain("already holds streams");
    expect((await readdir(join(folder, "two"))).sort()).toEqual(
      [...(won[0]?.streams ?? []).map(({ file }) => file), "streams.json"].sort(),
    );
    for (const { file, bytes } of won[0]?.streams ?? [])
      expect((await readFile(join(folder, "two", file))).length).toBe(bytes);
  });

  it("leave nothing behind when told to stop, and overwrite no file that is there", async () => {
    const path = await write("stop.jsonl", '{"text":"a"}\n{"text":"b"}\n');
    const into = join(folder, "stopped");
    const options = {
      dataset: path,
      streams: 2,
      folder: into,
      maxSamples: undefined,
      shuffleSeed: undefined,
    };
    await expect(splitDataset({ ...options, signal: AbortSignal.abort(new Error("stop")) })).rejects.toThrow(
      "stop",
    );
    expect(await readdir(into)).toEqual([]);
    await write("stopped/stream_001.jsonl", "somebody's");
    await expect(splitDataset(options)).rejects.toThrow(
      /already holds streams; found another stream_001.jsonl/,
    );
    expect(await readFile(join(into, "stream_001.jsonl"), "utf8")).toBe("somebody's");
  });

  it("take gzip of several members, and zstd of several frames", async () => {
    const halves = [JSON_TEXT.slice(0, 20), JSON_TEXT.slice(20)].map((half) => gzipSync(half));
    expect(await split(await write("a.jsonl.gz", Buffer.concat(halves)))).toEqual(JSON_RECORDS);
    const rows = gunzipSync(await readFile(join(PARQUET, "rows.jsonl.gz")))
      .toString()
      .trim()
      .split("\n");
    expect(await split(join(PARQUET, "rows.jsonl.zst"))).toEqual(rows);
  });

  it("take CSV and text, compressed or not", async () => {
    expect(await split(await write("c.csv", CSV_TEXT))).toEqual(CSV_RECORDS);
    expect(await split(await write("c.csv.gz", gzipSync(CSV_TEXT)))).toEqual(CSV_RECORDS);
    expect(await split(await write("c.tsv", "id\ttext\n1\ta,b\n"))).toEqual(['{"id":"1","text":"a,b"}']);
    expect(await split(await write("t.txt.gz", gzipSync("one\n\ntwo \n")))).toEqual([
      '{"text":"one"}',
      '{"text":"two "}',
    ]);
  });

  it("take a folder or a pattern, file after file in order of name", async () => {
    await write("many/part-10.jsonl", '{"text":"3"}\n');
    await write("many/part-02.jsonl.gz", gzipSync('{"text":"2"}\n'));
    await write("many/part-01.jsonl", '{"text":"1"}');
    await write("many/part-00.jsonl", "");
    await write("many/README.md", "not data");
    expect(await split(join(folder, "many"))).toEqual(['{"text":"1"}', '{"text":"2"}', '{"text":"3"}']);
    expect(await split(join(folder, "many/part-{01,10}.jsonl"))).toEqual(['{"text":"1"}', '{"text":"3"}']);
  });

  it.each([
    ["cut.jsonl.gz", gzipSync(JSON_TEXT).subarray(0, 40), /cannot be decompressed/],
    ["no.jsonl.zst", Buffer.from("plain text"), /cannot be decompressed/],
    ["x.parquet.gz", Buffer.from(""), /of an unknown kind/],
    ["twice.csv", Buffer.from("a,a\n1,2\n"), /names a column twice/],
    ["array.json", Buffer.from('[{"text":"a"}]'), /one JSON array.*jq -c/s],
    ["wide.jsonl", Buffer.from("\ufeff{}", "utf16le"), /UTF-16/],
  ])("refuse %s", async (name, content, message) => {
    await expect(split(await write(name, content))).rejects.toSatisfy((error: Error) =>
      message.test(`${error.message} ${JSON.stringify(error)}`),
    );
  });
});

describe("a dataset", () => {
  it("of a folder is one stream of its files; .json beside them is none", async () => {
    await write("shards/b.csv", CSV_TEXT);
    await write("shards/a.csv", CSV_TEXT);
    await write("shards/info.json", "{}");
    const { name, streams } = await openDataset(join(folder, "shards"), ["text"]);
    expect(name).toBe("shards");
    expect(streams).toEqual([
      {
        kind: "csv",
        files: ["a.csv", "b.csv"].map((file) => ({
          path: join(folder, "shards", file),
          bytes: Buffer.byteLength(CSV_TEXT),
        })),
        bytes: 2 * Buffer.byteLength(CSV_TEXT),
        columns: ["text"],
      },
    ]);
  });

  it("is refused where its files are of two kinds, compressed, or not there", async () => {
    await write("mixed/a.csv", CSV_TEXT);
    await write("mixed/b.jsonl", JSON_TEXT);
    await expect(openDataset(join(folder, "mixed"))).rejects.toThrow(/files of 2 kinds/);
    await write("packed/a.jsonl.gz", gzipSync(JSON_TEXT));
    await expect(openDataset(join(folder, "packed"))).rejects.toThrow(/compressed/);
    await expect(openDataset(join(folder, "packed/*.csv"))).rejects.toThrow(/no file matches/);
    await expect(openDataset(join(folder, "nowhere.csv"))).rejects.toThrow(/there is no dataset/);
    await expect(openDataset(await write("page.html", "x"))).rejects.toThrow(/of an unknown kind/);
    await write("bare/README.md", "x");
    await expect(openDataset(join(folder, "bare"))).rejects.toThrow(/holds no data files/);
  });
});

it("expands patterns as shells do", async () => {
  for (const name of [
    "g/a1.txt",
    "g/a2.txt",
    "g/b.txt",
    "g/.hidden.txt",
    "g/x/c.txt",
    "g/x/y/d.txt",
    "g/[q].txt",
  ])
    await write(name, "x");
  const expand = async (pattern: string) =>
    (await expandGlob(join(folder, "g", pattern))).map((path) => path.slice(folder.length + 3));
  expect(await expand("a?.txt")).toEqual(["a1.txt", "a2.txt"]);
  expect(await expand("*.txt")).toEqual(["[q].txt", "a1.txt", "a2.txt", "b.txt"]);
  expect(await expand("a[!1].txt")).toEqual(["a2.txt"]);
  expect(await expand("{b,a1}.txt")).toEqual(["a1.txt", "b.txt"]);
  expect(await expand("*/*.txt")).toEqual(["x/c.txt"]);
  expect(await expand("**/*.txt")).toEqual(["[q].txt", "a1.txt", "a2.txt", "b.txt", "x/c.txt", "x/y/d.txt"]);
  expect(await expand("z*")).toEqual([]);
});
