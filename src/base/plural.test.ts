import { expect, it } from "vitest";
import { formatBytes } from "./format-bytes.js";
import { plural } from "./plural.js";

it("says one of one and many of all else", () => {
  expect([0, 1, 2, 12_345].map((n) => plural(n, "shard"))).toEqual([
    "0 shards",
    "1 shard",
    "2 shards",
    "12,345 shards",
  ]);
  expect([1, 2].map((n) => plural(n, "batch", "batches"))).toEqual(["1 batch", "2 batches"]);
});

it("says sizes in three digits, also where they round up to the next unit", () => {
  const sizes = [0, 999, 1000, 999_499, 999_500, 999_999, 1e9 - 1, 12_345_678, 5e15];
  expect(sizes.map(formatBytes)).toEqual([
    "0 B",
    "999 B",
    "1.00 kB",
    "999 kB",
    "1.00 MB",
    "1.00 MB",
    "1.00 GB",
    "12.3 MB",
    "5000 TB",
  ]);
});
