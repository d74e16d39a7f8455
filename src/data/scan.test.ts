import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import { recordsIn } from "./lines.js";
import { recordsOfStream, sampleRecords, scanStream } from "./scan.js";
import { decodeUnitTable, encodeUnitTable } from "./unit-table.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "sluice-scan-"));
});
afterAll(() => rm(folder, { recursive: true }));

it("finds every record once, in units whose bytes it hashes", async () => {
  const line = fc.oneof(
    fc.constantFrom("", " ", "\t \r", "a", '{"x":1}\r'),
    fc.string({ maxLength: 30 }).map((s) => s.replace(/\n/g, "")),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.array(line, { maxLength: 40 }),
      fc.boolean(),
      fc.integer({ min: 1, max: 7 }),
      fc.integer({ min: 0, max: 50 }),
      async (lines, ends, perShard, max) => {
        const file = join(folder, "f");
        const text = lines.join("\n") + (ends ? "\n" : "");
        await writeFile(file, text);
        const records = text
          .split("\n")
          .filter((l) => Buffer.from(l).some((b) => ![0x20, 9, 13].includes(b)));
        const table = await scanStream({ file, samplesPerShard: perShard, maxRecords: max });
        expect(table.records).toBe(Math.min(max, records.length));
        expect(decodeUnitTable(encodeUnitTable(table), "t")).toEqual(table);
        const bytes = await readFile(file);
        const found: string[] = [];
        for (const unit of table.units) {
          const piece = bytes.subarray(unit.start, unit.end);
          expect(createHash("sha256").update(piece).digest("hex")).toBe(unit.sha256);
          const inUnit = [...recordsIn(piece)].map(({ start, end }) =>
            piece.subarray(start, end).toString().replace(/\n$/, ""),
          );
          expect(inUnit).toHaveLength(unit.records);
          found.push(...inUnit);
        }
        expect(found).toEqual(records.slice(0, max));
      },
    ),
    { numRuns: 150 },
  );
});

it("reads lines that are longer than what is read at once", async () => {
  const file = join(folder, "long");
  const long = "x".repeat(20 << 20);
  await writeFile(file, `a\n${long}\nb\n`);
  const table = await scanStream({ file, samplesPerShard: 2, maxRecords: Number.POSITIVE_INFINITY });
  expect(table.units.map((u) => [u.start, u.end, u.records])).toEqual([
    [0, long.length + 3, 2],
    [long.length + 3, long.length + 5, 1],
  ]);
});

it("samples records whose weighted mean is that of all records", async () => {
  const file = join(folder, "weights");
  const lengths = Array.from({ length: 4000 }, (_, i): number => (i % 10 === 0 ? 900 : 20));
  await writeFile(file, lengths.map((n) => `${"y".repeat(n - 1)}\n`).join(""));
  const bytes = lengths.reduce((a, b) => a + b, 0);
  const samples = await sampleRecords(
    { name: "w", path: file, streams: [{ file, bytes }], lines: "text" },
    1000,
  );
  expect(samples).toHaveLength(1000);
  const total = samples.reduce((sum, s) => sum + s.weight, 0);
  const mean = samples.reduce((sum, s) => sum + s.weight * s.bytes.length, 0) / total;
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
