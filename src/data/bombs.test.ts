// Compressed files that expand to far more than they are: memory stays bounded, and the file is refused in words.

import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, expect, it } from "vitest";
import { zstdBomb } from "../../test/zstd-bomb.js";
import { readEveryRecord } from "./every-record.js";
import { ParquetFile } from "./parquet-file.js";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "sluice-bombs-"));
});
afterEach(() => rm(folder, { recursive: true }));

async function readAll(path: string): Promise<number> {
  let count = 0;
  for await (const _ of readEveryRecord([path], undefined)) count += 1;
  return count;
}

it("a line without end", async () => {
  const before = process.memoryUsage().rss;
  const one = join(folder, "small.jsonl.zst");
  await writeFile(one, zstdBomb(2));
  expect(await readAll(one)).toBe(1);
  const zst = join(folder, "d.jsonl.zst");
  await writeFile(zst, zstdBomb(1200));
  await expect(readAll(zst)).rejects.toThrow("is longer than 128000000 bytes");
  const gz = join(folder, "d.txt.gz");
  await writeFile(gz, gzipSync(Buffer.alloc(140_000_000, "a"), { level: 1 }));
  await expect(readAll(gz)).rejects.toThrow("is longer than 128000000 bytes");
  expect(process.memoryUsage().rss - before).toBeLessThan(1e9);
});

it("a page of Parquet that says less than it holds", async () => {
  const source = fileURLToPath(new URL("../../test/fixtures/parquet/gzip-plain.parquet", import.meta.url));
  const bytes = await readFile(source);
  const opened = await ParquetFile.open(source, null);
  const [chunk] = opened.groups[0]?.chunks ?? [];
  const at = Number(chunk?.dictionary_page_offset || chunk?.data_page_offset || 0);
  await opened.close();
  // The header's second field is the size after expansion: a varint, zigzag (Thrift's compact protocol), here cut to one bit of it.
  expect(bytes[at + 2]).toBe(0x15);
  let end = at + 3;
  while ((bytes[end] ?? 0) >= 0x80) end += 1;
  for (let i = at + 3; i < end; i++) bytes[i] = 0x80;
  bytes[end] = 0;
  const path = join(folder, "bomb.parquet");
  await writeFile(path, bytes);
  const file = await ParquetFile.open(path, null);
  await expect(file.read(0, 0, 1)).rejects.toMatchObject({
    kind: "config",
    message: expect.stringContaining("cannot be read as Parquet"),
  });
  await file.close();
});
