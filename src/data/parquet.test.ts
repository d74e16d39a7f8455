// Parquet against the rows that pyarrow wrote (tools/make_parquet_fixtures.py).

import { readdirSync, readFileSync, statSync } from "node:fs";
import { copyFile, mkdtemp, open, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { DatasetStream } from "./dataset.js";
import { readEveryRecord } from "./every-record.js";
import type { Fields, RawRecord } from "./fields.js";
import { ParquetFile } from "./parquet-file.js";
import { openRecordStream } from "./record-stream.js";
import { sampleRecords, scanStream } from "./scan.js";

const FIXTURES = fileURLToPath(new URL("../../test/fixtures/parquet/", import.meta.url));
const FILES = readdirSync(FIXTURES).filter((name) => name.endsWith(".parquet"));
const ROWS: readonly Fields[] = gunzipSync(readFileSync(join(FIXTURES, "rows.jsonl.gz")))
  .toString()
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line) as Fields);

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "sluice-parquet-"));
});
afterAll(() => rm(folder, { recursive: true }));

function streamOf(paths: readonly string[], columns: readonly string[] | null = null): DatasetStream {
  const files = paths.map((path) => ({ path, bytes: statSync(path).size }));
  return { kind: "parquet", files, bytes: files.reduce((sum, { bytes }) => sum + bytes, 0), columns };
}

const fieldsOf = (records: readonly RawRecord[]) =>
  records.map((record) => ("fields" in record ? record.fields : record.unusable));

describe.each(FILES)("%s", (name) => {
  it("has pyarrow's rows, every column and any range of them", async () => {
    const file = await ParquetFile.open(join(FIXTURES, name), null);
    expect(file.rows).toBe(ROWS.length);
    const all: unknown[] = [];
    for (const [group, { rows }] of file.groups.entries())
      all.push(...fieldsOf(await file.read(group, 0, rows)));
    expect(all).toEqual(ROWS);
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: file.groups.length - 1 }),
        fc.array(fc.integer({ min: 0, max: 130 }), { minLength: 2, maxLength: 6 }),
        async (index, places) => {
          const group = file.groups[index];
          if (!group) return;
          // Reading on, with gaps, and back again.
          const cuts = places.map((place) => place % (group.rows + 1));
          for (let i = 0; i + 1 < cuts.length; i++) {
            const start = Math.min(cuts[i] ?? 0, cuts[i + 1] ?? 0);
            const end = Math.max(cuts[i] ?? 0, cuts[i + 1] ?? 0);
            const found = fieldsOf(await file.read(index, start, end));
            expect(found).toEqual(ROWS.slice(group.firstRow + start, group.firstRow + end));
          }
        },
      ),
      { numRuns: 12 },
    );
    await file.close();
  });

  it("gives the columns that are used, and no others", async () => {
    const stream = openRecordStream(streamOf([join(FIXTURES, name)], ["id", "messages", "nowhere"]));
    const table = await stream.scan({ samplesPerShard: 130, maxRecords: 130 });
    const [unit] = table.units;
    const { records } = unit ? await stream.read(unit) : { records: [] };
    expect(fieldsOf(records)).toEqual(ROWS.map(({ id, messages }) => ({ id, messages })));
    await stream.close();
  });
});

it("is cut into units over row groups and files, whose hashes are checked", async () => {
  const paths = ["snappy.parquet", "lz4.parquet"].map((name) => join(FIXTURES, name));
  const rows = [...ROWS, ...ROWS];
  for (const [samplesPerShard, maxRecords] of [
    [1, 9],
    [33, 260],
    [64, 200],
    [1000, 1000],
  ] as const) {
    const stream = streamOf(paths);
    const table = await scanStream({ stream, samplesPerShard, maxRecords });
    expect(table.records).toBe(Math.min(maxRecords, rows.length));
    const opened = openRecordStream(stream);
    // In any order.
    const found: unknown[] = [];
    for (const unit of [...table.units].reverse()) {
      const { records, sha256 } = await opened.read(unit);
      expect(sha256).toBe(unit.sha256);
      found.unshift(...fieldsOf(records));
    }
    expect(found).toEqual(rows.slice(0, maxRecords));
    expect(new Set(table.units.map(({ sha256 }) => sha256)).size).toBe(table.units.length);
    await opened.close();
  }
});

it("refuses the units of a row group that was edited in a used column, and no others", async () => {
  const path = join(folder, "edited.parquet");
  await copyFile(join(FIXTURES, "snappy.parquet"), path);
  const stream = streamOf([path], ["text"]);
  const table = await scanStream({ stream, samplesPerShard: 25, maxRecords: 130 });
  const opened = openRecordStream(stream);
  const hashes = async () => {
    const all = [];
    for (const unit of table.units) all.push((await opened.read(unit)).sha256 === unit.sha256);
    return all;
  };
  expect(await hashes()).toEqual([true, true, true, true, true, true]);
  const file = await ParquetFile.open(path, null);
  const chunks = file.groups[1]?.chunks ?? [];
  await file.close();
  const edit = async (column: string) => {
    const chunk = chunks.find(({ path_in_schema }) => path_in_schema[0] === column);
    const handle = await open(path, "r+");
    await handle.write(Buffer.of(0xee), 0, 1, Number(chunk?.data_page_offset) + 30);
    await handle.close();
  };
  await edit("language");
  expect(await hashes()).toEqual([true, true, true, true, true, true]);
  await edit("text");
  expect(await hashes()).toEqual([true, true, false, false, true, true]);
  await opened.close();
});

it("is looked at here and there", async () => {
  for (const name of ["lz4.parquet", "brotli-one-group.parquet"]) {
    const stream = streamOf([join(FIXTURES, name)]);
    const samples = await sampleRecords({ name, path: name, streams: [stream] }, 60);
    expect(samples.length).toBeGreaterThan(40);
    const ids = samples.map(({ raw }) => ("fields" in raw ? raw.fields.id : ""));
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids).toContain("row-0");
  }
});

it("names a file that is none, or is torn", async () => {
  const path = join(folder, "torn.parquet");
  await copyFile(join(FIXTURES, "snappy.parquet"), path);
  const { size } = await stat(path);
  const file = await open(path, "r+");
  await file.truncate(size - 10);
  await file.close();
  await expect(ParquetFile.open(path, null)).rejects.toThrow(/torn.parquet cannot be read as Parquet/);
  await expect(ParquetFile.open(join(FIXTURES, "rows.jsonl.gz"), null)).rejects.toThrow(
    /cannot be read as Parquet/,
  );
  expect(await readdir(folder)).toContain("torn.parquet");
});

it("goes through sluice streams with all columns, or some", async () => {
  const lines: Fields[] = [];
  for await (const line of readEveryRecord([join(FIXTURES, "gzip-plain.parquet")], undefined))
    lines.push(JSON.parse(line.toString()) as Fields);
  expect(lines).toEqual(ROWS);
  const some: Fields[] = [];
  for await (const line of readEveryRecord([join(FIXTURES, "lz4.parquet")], ["examples", "meta.source"]))
    some.push(JSON.parse(line.toString()) as Fields);
  expect(some[0]).toEqual({
    id: "row-0",
    examples: ROWS[0]?.examples,
    "meta.source": (ROWS[0]?.meta as Fields)?.source,
  });
  const read = readEveryRecord([join(FIXTURES, "lz4.parquet")], ["exampels"]);
  await expect(read.next()).rejects.toThrow(/--column names a column/);
});
