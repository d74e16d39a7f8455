import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { crc32c } from "@node-rs/crc32";
import { expect, it } from "vitest";
import { formatCrc } from "../base/crc.js";
import { hashFile } from "./hash.js";

it("gives the checksums of a file and of its ranges, across the borders of what is read at once", async () => {
  const folder = await mkdtemp(join(tmpdir(), "sluice-hash-"));
  const file = join(folder, "f");
  const content = Buffer.from(
    Uint32Array.from({ length: 2_500_001 }, (_, i) => Math.imul(i, 2_654_435_761)).buffer,
  );
  await writeFile(file, content);
  const lengths = [0, 100, 0, 3 << 20, 1, (1 << 20) - 101, 0, 4 << 20, 1000, 0];
  let offset = 64;
  const ranges = lengths.map((length, i) => {
    if (i === 8) offset += 77; // A gap.
    const range = { offset, length };
    offset += length;
    return range;
  });
  const sumOf = (from: number, to: number) => formatCrc(crc32c(content.subarray(from, to)));
  for (const asked of [ranges, [], [{ offset: 0, length: content.length }], ranges.slice(1, 2)]) {
    expect(await hashFile(file, asked)).toEqual({
      size: content.length,
      sha256: createHash("sha256").update(content).digest("hex"),
      crc32c: sumOf(0, content.length),
      tensors: asked.map((r) => sumOf(r.offset, r.offset + r.length)),
    });
  }
  await writeFile(file, "");
  expect(await hashFile(file, [])).toMatchObject({ size: 0, crc32c: "00000000" });
  await rm(folder, { recursive: true });
});
