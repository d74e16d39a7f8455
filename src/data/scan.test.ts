import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse as parseCsv } from "csv-parse/sync";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { DatasetStream } from "./dataset.js";
import type { RawRecord } from "./fields.js";
import type { TextKind } from "./file-kind.js";
import { openRecordStream } from "./record-stream.js";
import { recordsOfStream, sampleRecords, scanStream } from "./scan.js";
import { decodeUnitTable, encodeUnitTable } from "./unit-table.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "sluice-scan-"));
});
afterAll(() => rm(folder, { recursive: true }));

/** Writes texts as the files of one stream. */
async function streamOf(kind: TextKind, texts: readonly string[]): Promise<DatasetStream> {
  const files = [];
  for (const [i, text] of texts.entries()) {
    const path = join(folder, `f${i}.${kind}`);
    await writeFile(path, text);
    files.push({ path, bytes: Buffer.byteLength(text) });
  }
  return { kind, files, bytes: files.reduce((sum, { bytes }) => sum + bytes, 0), columns: null };
}

/** All units of a stream, read: their records, each unit's hash checked. */
async function readUnits(stream: DatasetStream, perShard: number, max: number): Promise<RawRecord[]> {
  const table = await scanStream({ stream, samplesPerShard: perShard, maxRecords: max });
  expect(decodeUnitTable(encodeUnitTable(table), "t")).toEqual(table);
  const opened = openRecordStream(stream);
  const found: RawRecord[] = [];
  for (const unit of table.units) {
    const { records, sha256 } = await opened.read(unit);
    expect(sha256).toBe(unit.sha256);
    expect(records).toHaveLength(unit.records);
    found.push(...records);
  }
  await opened.close();
  expect(table.records).toBe(found.length);
  return found;
}

const perShard = fc.integer({ min: 1, max: 7 });
const max = fc.integer({ min: 0, max: 50 });

describe("lines", () => {
  const line = fc.oneof(
    fc.constantFrom("", " ", "\t \r", "a", '{"x":1}\r'),
    fc.string({ maxLength: 30 }).map((s) => s.replace(/[\r\n\ufeff]/g, "")),
  );

  it("are found once each, in units whose bytes are hashed, over several files", async () => {
    const file = fc.tuple(fc.array(line, { maxLength: 25 }), fc.boolean());
    await fc.assert(
      fc.asyncProperty(fc.array(file, { minLength: 1, maxLength: 3 }), perShard, max, async (files, n, m) => {
        const texts = files.map(([lines, ends]) => lines.join("\n") + (ends ? "\n" : ""));
        const records = texts
          .flatMap((text) => text.split("\n"))
          .filter((l) => Buffer.from(l).some((b) => ![0x20, 9, 13].includes(b)))
          .map((l) => ({ fields: { text: l.replace(/\r$/, "") } }));
        expect(await readUnits(await streamOf("text", texts), n, m)).toEqual(records.slice(0, m));
      }),
      { numRuns: 80 },
    );
  });

  it("of one file are hashed as they stand", async () => {
    const stream = await streamOf("json", ['{"text":"a"}\n\n{"text":"b"}\n{"text":"c"}']);
    const table = await scanStream({ stream, samplesPerShard: 2, maxRecords: Number.POSITIVE_INFINITY });
    const bytes = await readFile(stream.files[0]?.path ?? "");
    for (const { start, end, sha256 } of table.units)
      expect(createHash("sha256").update(bytes.subarray(start, end)).digest("hex")).toBe(sha256);
  });

  it("may be longer than what is read at once", async () => {
    const long = "x".repeat(20 << 20);
    const stream = await streamOf("text", [`a\n${long}\nb\n`]);
    const table = await scanStream({ stream, samplesPerShard: 2, maxRecords: Number.POSITIVE_INFINITY });
    expect(table.units.map((u) => [u.start, u.end, u.records])).toEqual([
      [0, long.length + 3, 2],
      [long.length + 3, long.length + 5, 1],
    ]);
  });
});

describe("CSV rows", () => {
  const value = fc.oneof(
    fc.constantFrom("", "a", 'say "hi"', "two\nlines", "a,b\tc", "\r\n", '"', '""', " x ", "naïve 東京"),
    fc.string({ maxLength: 12 }).map((s) => s.replace(/[\r\ufeff]/g, "")),
  );
  /** As spreadsheets and Python's `csv` write it. */
  const quoteField = (field: string, delimiter: string) =>
    /["\r\n]/.test(field) || field.includes(delimiter) ? `"${field.replaceAll('"', '""')}"` : field;

  it.each(["csv", "tsv"] as const)(
    "of %s are those of csv-parse, over several files and units",
    async (kind) => {
      const delimiter = kind === "csv" ? "," : "\t";
      const rows = fc.array(fc.tuple(value, value, value), { maxLength: 12 });
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.tuple(rows, fc.constantFrom("\n", "\r\n"), fc.boolean(), fc.boolean()), {
            minLength: 1,
            maxLength: 3,
          }),
          perShard,
          async (files, n) => {
            const texts = files.map(([body, ending, ends, bom]) => {
              // A row that reads as blank is none, to Python's DictReader as well.
              const lines = [["id", "text", "a b"], ...body.filter((row) => row.join("").trim() !== "")].map(
                (row) => row.map((field) => quoteField(field, delimiter)).join(delimiter),
              );
              return (bom ? "\ufeff" : "") + lines.join(ending) + (ends ? ending : "");
            });
            const expected = texts.flatMap((text): RawRecord[] =>
              parseCsv(text, { columns: true, bom: true, delimiter, skip_empty_lines: true }).map(
                (fields) => ({
                  fields: fields as Record<string, string>,
                }),
              ),
            );
            const found = await readUnits(await streamOf(kind, texts), n, Number.POSITIVE_INFINITY);
            expect(found).toEqual(expected);
          },
        ),
        { numRuns: 40 },
      );
    },
  );

  it("are read as Python reads quotes that open no field, and quoted fields that go on", async () => {
    const stream = await streamOf("csv", ['n,text\n1,5" pipe\n2,"a"b"c"\n3,x "y"\n4,"open']);
    expect(await readUnits(stream, 2, 10)).toEqual(
      [
        ["1", '5" pipe'],
        ["2", 'ab"c"'],
        ["3", 'x "y"'],
        ["4", "open"],
      ].map(([n, text]) => ({ fields: { n, text } })),
    );
  });

  it("keep a unit from being read under another header", async () => {
    const stream = await streamOf("csv", ["id,text\n1,a\n2,b\n3,c\n"]);
    const table = await scanStream({ stream, samplesPerShard: 1, maxRecords: 10 });
    const reading = openRecordStream(stream);
    for (const unit of table.units) expect((await reading.read(unit)).sha256).toBe(unit.sha256);
    await writeFile(stream.files[0]?.path ?? "", "text,id\n1,a\n2,b\n3,c\n");
    for (const opened of [reading, openRecordStream(stream)])
      for (const unit of table.units) expect((await opened.read(unit)).sha256).not.toBe(unit.sha256);
  });

  it("may have a header longer than what is read at once", async () => {
    const names = Array.from({ length: 9000 }, (_, i) => `column${i}`);
    expect(names.join(",").length).toBeGreaterThan(64 << 10);
    const stream = await streamOf("csv", [`${names.join(",")}\n${names.map((_, i) => i).join(",")}\n`]);
    const [row] = await readUnits(stream, 1, 9);
    expect(row && "fields" in row && Object.entries(row.fields).at(-1)).toEqual(["column8999", "8999"]);
  });

  it("with too many fields are unusable, with too few lack columns", async () => {
    const stream = await streamOf("csv", ["id,text\n1\n2,b,c\n"]);
    expect(await readUnits(stream, 5, 9)).toEqual([
      { fields: { id: "1" } },
      { unusable: "3 fields where the header has 2" },
    ]);
  });

  it("are looked at here and there, also where a place lies within quotes", async () => {
    const row = (i: number) => `${i},"${'line one, with ""quotes""\nline two\n'.repeat(1 + (i % 5))}"\n`;
    const stream = await streamOf("csv", [
      `id,text\n${Array.from({ length: 3000 }, (_, i) => row(i)).join("")}`,
    ]);
    const samples = await sampleRecords({ name: "c", path: "c", streams: [stream] }, 120);
    expect(samples.length).toBeGreaterThan(110);
    let length = 0;
    for (const { raw } of samples) {
      if (!("fields" in raw)) throw new Error("unusable");
      expect(String(raw.fields.text)).toMatch(/^(line one, with "quotes"\nline two\n)+$/);
      length += String(raw.fields.text).length;
    }
    expect(length / samples.length / (3 * 34)).toBeCloseTo(1, 0);
  });
});

it("samples records whose weighted mean is that of all records", async () => {
  const lengths = Array.from({ length: 4000 }, (_, i): number => (i % 10 === 0 ? 900 : 20));
  const stream = await streamOf("text", [lengths.map((n) => `${"y".repeat(n - 1)}\n`).join("")]);
  const bytes = lengths.reduce((a, b) => a + b, 0);
  const samples = await sampleRecords({ name: "w", path: "w", streams: [stream] }, 1000);
  expect(samples).toHaveLength(1000);
  const total = samples.reduce((sum, s) => sum + s.weight, 0);
  const lengthOf = ({ raw }: { raw: RawRecord }) =>
    "fields" in raw ? String(raw.fields.text).length + 1 : 0;
  const mean = samples.reduce((sum, s) => sum + s.weight * lengthOf(s), 0) / total;
  expect(Math.abs(mean / (bytes / lengths.length) - 1)).toBeLessThan(0.15);
});

it("cuts a dataset of S streams to its first records", () => {
  expect([0, 1, 2].map((s) => recordsOfStream(7, s, 3))).toEqual([3, 2, 2]);
  expect(recordsOfStream(undefined, 0, 3)).toBe(Number.POSITIVE_INFINITY);
});

it("refuses a torn table", () => {
  const bytes = encodeUnitTable({
    samplesPerShard: 1,
    records: 1,
    units: [{ start: 0, end: 5, records: 1, sha256: "0".repeat(64) }],
  });
  expect(() => decodeUnitTable(bytes.subarray(0, 40), "t")).toThrow(/not a table of units/);
  expect(() => decodeUnitTable(Buffer.alloc(100), "t")).toThrow(/no header/);
});

it("refuses a table whose units overlap, or do not add up", () => {
  const decode = (starts: readonly number[], records: number) => {
    const units = starts.map((start) => ({ start, end: start + 5, records: 1, sha256: "0".repeat(64) }));
    return decodeUnitTable(encodeUnitTable({ samplesPerShard: 1, records, units }), "t").units.length;
  };
  expect(decode([0, 5], 2)).toBe(2);
  expect(() => decode([0, 4], 2)).toThrow(/unit 1 is out of order/);
  expect(() => decode([0, 5], 1)).toThrow(/1 records, but its units have 2/);
  expect(() => decode([0, 5], 3)).toThrow(/3 records, but its units have 2/);
});
