// Compressing a shard onto a disk that fills up: at whichever write that is, it must be an error, and never a shorter shard.

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { pickleFormat } from "./pkl-gz.js";

/** Bytes that the disk still takes. */
const disk = vi.hoisted(() => ({ room: Number.POSITIVE_INFINITY }));
vi.mock("node:fs", async (load) => {
  const fs = await load<typeof import("node:fs")>();
  const full = Object.assign(new Error("no space left on device"), { code: "ENOSPC" });
  const write = (file: number, bytes: Uint8Array, ...rest: never[]) => {
    const done = rest.at(-1) as unknown as (error: Error | null, written?: number) => void;
    disk.room -= bytes.length;
    if (disk.room < 0) setImmediate(() => done(full));
    else fs.write(file, bytes, 0, bytes.length, null, done);
  };
  const createWriteStream = (path: string, options: object) =>
    fs.createWriteStream(path, { ...options, fs: { open: fs.open, close: fs.close, write } });
  return { ...fs, createWriteStream };
});

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "sluice-pickle-"));
  await writeFile(join(folder, "x"), Buffer.alloc(100_000, "rows"));
});
afterAll(() => rm(folder, { recursive: true }));

const compress = (target: string, room: number) => {
  disk.room = room;
  return pickleFormat.compression?.compress(join(folder, "x"), join(folder, target), "comment");
};

it("a disk that is full is an error, at the first byte and at the last", async () => {
  await compress("whole", 1e6);
  const size = 1e6 - disk.room;
  for (const room of [0, 1, 40, Math.floor(size / 2), size - 9, size - 8, size - 1])
    await expect(compress(`at ${room}`, room), `room for ${room} of ${size} bytes`).rejects.toThrow(
      "no space",
    );
  await compress("just", size);
});
