import { expect, it } from "vitest";
import { FileStore } from "../store/file.js";
import { freeSpace } from "../store/free-space.js";
import { MemoryStore } from "../store/memory.js";
import { compareSpace, compareSpoolSpace } from "./expected-size.js";

const expected = { records: 1000, samples: 1000, tokens: 30_000, shards: 80, bytes: 8e9 };
const fresh = { committed: 0, units: 80 };

it("says both sizes, and refuses a run that does not fit", () => {
  expect(compareSpace("/runs/a", expected, fresh, 53e9, false)).toBe(
    "about 8.00 GB in 80 shards to come; 53.0 GB free",
  );
  expect(() => compareSpace("/runs/a", expected, fresh, 5e9, false)).toThrowError(
    /does not fit the disk of \/runs\/a; found 5.00 GB free; expected room for about 8.00 GB in 80 shards.*--yes/,
  );
  expect(() => compareSpace("/runs/a", expected, fresh, 5e9, false)).toThrowError(
    expect.objectContaining({ kind: "store", exitCode: 74 }),
  );
});

it("starts anyway with --yes, and says that it is too little", () => {
  expect(compareSpace("/runs/a", expected, fresh, 5e9, true)).toContain("5.00 GB free, which is too little");
});

it("asks a resumed run for room for the rest alone", () => {
  expect(compareSpace("/runs/a", expected, { committed: 60, units: 80 }, 3e9, false)).toBe(
    "about 2.00 GB in 20 shards to come; 3.00 GB free",
  );
  expect(() => compareSpace("/runs/a", expected, { committed: 60, units: 80 }, 1e9, false)).toThrowError(
    /2.00 GB in 20 shards/,
  );
});

it("knows the free space of a local store, also before its folder exists, and of no other", async () => {
  expect(await freeSpace(new FileStore("/tmp/no-such-folder/below"))).toBeGreaterThan(0);
  expect(await freeSpace(new MemoryStore())).toBeNull();
});

it("refuses a spool of a bucket that has no room for three shards", () => {
  compareSpoolSpace("/tmp/s", expected, 3e8, false);
  compareSpoolSpace("/tmp/s", expected, null, false);
  compareSpoolSpace("/tmp/s", expected, 1e8, true);
  expect(() => compareSpoolSpace("/tmp/s", expected, 2.9e8, false)).toThrowError(
    /do not fit the disk of \/tmp\/s; found 290 MB free; expected 300 MB.*--spool/,
  );
});
