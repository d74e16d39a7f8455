import { randomBytes } from "node:crypto";
import { expect, it } from "vitest";
import { MemoryStore } from "./memory.js";
import { PIECE_BYTES, PieceBudget, readPieces } from "./read-pieces.js";
import type { Store } from "./store.js";

/** A store whose reads take a while, some longer than others; and how many bytes were under way or unread at once. */
async function openSlow(sizes: Readonly<Record<string, number>>) {
  const memory = new MemoryStore();
  for (const [name, size] of Object.entries(sizes)) await memory.create(name, randomBytes(size));
  const seen = { now: 0, peak: 0, requests: 0, failAt: -1 };
  const store: Store = Object.create(memory, {
    read: {
      value: async (name: string, range: { start: number; end: number }) => {
        const number = seen.requests++;
        seen.now += 1;
        seen.peak = Math.max(seen.peak, seen.now);
        await new Promise((resolve) => setTimeout(resolve, (number % 3) * 5));
        seen.now -= 1;
        if (number === seen.failAt) throw new Error("broken");
        return memory.read(name, range);
      },
    },
  });
  return { store, memory, seen };
}

async function readAll(pieces: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const all: Uint8Array[] = [];
  for await (const piece of pieces) all.push(piece);
  return Buffer.concat(all);
}

it("gives a range in order, with several requests under way", async () => {
  const size = 5 * PIECE_BYTES + 3;
  const { store, memory, seen } = await openSlow({ a: size });
  const whole = await memory.read("a");
  const budget = new PieceBudget();
  expect(
    Buffer.compare(await readAll(readPieces(store, "a", { start: 0, end: size }, { budget })), whole),
  ).toBe(0);
  expect(seen).toMatchObject({ requests: 6, peak: 6 });
  const part = await readAll(readPieces(store, "a", { start: 5, end: PIECE_BYTES + 6 }, { budget }));
  expect(Buffer.compare(part, whole.subarray(5, PIECE_BYTES + 6))).toBe(0);
  expect(await readAll(readPieces(store, "a", { start: 5, end: 5 }, { budget }))).toHaveLength(0);
});

it("keeps all readers within one budget, and gives room back when one fails or is left", async () => {
  const size = 3 * PIECE_BYTES;
  const { store, seen } = await openSlow({ a: size, b: size, c: size });
  const budget = new PieceBudget(2);
  const read = (name: string) => readAll(readPieces(store, name, { start: 0, end: size }, { budget }));
  expect((await Promise.all(["a", "b", "c"].map(read))).map((bytes) => bytes.length)).toEqual([
    size,
    size,
    size,
  ]);
  expect(seen.peak).toBe(2);
  seen.failAt = seen.requests + 1;
  await expect(read("a")).rejects.toThrow("broken");
  for await (const _ of readPieces(store, "b", { start: 0, end: size }, { budget })) break;
  const stopped = new AbortController();
  stopped.abort(new Error("enough"));
  const aborted = readPieces(store, "b", { start: 0, end: size }, { budget, signal: stopped.signal });
  await expect(readAll(aborted)).rejects.toThrow("enough");
  expect((await Promise.all(["a", "b"].map(read))).map((bytes) => bytes.length)).toEqual([size, size]);
});
