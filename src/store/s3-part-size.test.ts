import fc from "fast-check";
import { expect, it } from "vitest";
import { isSluiceError } from "../base/errors.js";
import { MAX_PART_BYTES, UPLOAD_BYTES } from "./parts.js";
import { MAX_PARTS, MIN_PART_BYTES, PART_BYTES, partBytesFor } from "./s3-part-size.js";

const LARGEST = MAX_PARTS * MAX_PART_BYTES;

it("keeps S3's bounds and the memory's, for every size", () => {
  const sizes = fc.oneof(
    fc.integer({ min: 1, max: LARGEST }),
    fc.integer({ min: 1, max: 10_000 }).map((n) => n << 20),
  );
  fc.assert(
    fc.property(sizes, (size) => {
      const bytes = partBytesFor(size);
      const parts = Math.ceil(size / bytes);
      expect(parts).toBeLessThanOrEqual(MAX_PARTS);
      expect(bytes).toBeGreaterThanOrEqual(MIN_PART_BYTES);
      expect(bytes % (1 << 20)).toBe(0);
      // One being read, one under way, one waiting.
      expect(3 * bytes).toBeLessThanOrEqual(UPLOAD_BYTES);
      // No smaller part would do, or it is the usual one.
      expect(bytes === PART_BYTES || Math.ceil(size / (bytes - (1 << 20))) > MAX_PARTS).toBe(true);
    }),
  );
});

it.each([
  [5_000_000_000, 16, 299],
  [5 * 2 ** 30 + 1, 16, 321],
  [160 * 2 ** 30, 17, 9638],
  [LARGEST, 64, 10_000],
])("cuts %d bytes into parts of %d MiB: %d of them", (size, mebibytes, parts) => {
  expect(partBytesFor(size)).toBe(mebibytes << 20);
  expect(Math.ceil(size / partBytesFor(size))).toBe(parts);
});

it("refuses what would need larger parts than there is memory for", () => {
  for (const size of [LARGEST + 1, 5 * 2 ** 40])
    expect(() => partBytesFor(size)).toThrow(
      expect.toSatisfy((e: unknown) => isSluiceError(e, "config") && e.message.includes("--shard-size")),
    );
});
