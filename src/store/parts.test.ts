import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { isSluiceError } from "../base/errors.js";
import { type FilePart, readParts, sendParts, UploadMemory } from "./parts.js";

let folder: string;
let file: string;
const content = Buffer.from(
  Uint8Array.from({ length: 10_007 }, (_, i) => Math.imul(i, 2_654_435_761) >>> 24),
);
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "sluice-parts-"));
  file = join(folder, "f");
  await writeFile(file, content);
});
afterAll(() => rm(folder, { recursive: true }));

describe("memory for uploads", () => {
  it("never exceeds its limit, keeps buffers for the next, and serves in order of asking", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ length: fc.integer({ min: 1, max: 50 }), isIdle: fc.boolean() }), {
          maxLength: 40,
        }),
        async (asked) => {
          const memory = new UploadMemory(100);
          const order: number[] = [];
          await Promise.all(
            asked.map(async ({ length, isIdle }, i) => {
              const buffer = await memory.acquire(length);
              order.push(i);
              expect(buffer).toHaveLength(length);
              expect(memory.used).toBeLessThanOrEqual(100);
              for (let turns = length % 4; turns > 0; turns--) await setImmediate();
              memory.release(buffer, isIdle);
            }),
          );
          expect(order).toEqual(asked.map((_, i) => i));
          expect(memory.used).toBe(0);
          expect(memory.peak).toBeLessThanOrEqual(100);
        },
      ),
      { numRuns: 50 },
    );
  });

  it("uses a buffer again only when nothing can read it any more", async () => {
    const memory = new UploadMemory(100);
    const first = await memory.acquire(60);
    memory.release(first, true);
    const second = await memory.acquire(60);
    expect(second).toBe(first);
    memory.release(second, false);
    expect(await memory.acquire(60)).not.toBe(first);
  });

  it("lets those behind go on when one that waits gives up, and refuses what never fits", async () => {
    const memory = new UploadMemory(100);
    const held = await memory.acquire(60);
    const stop = new AbortController();
    const large = memory.acquire(90, stop.signal);
    const small = memory.acquire(40);
    stop.abort(new Error("stop"));
    await expect(large).rejects.toThrow("stop");
    expect(await small).toHaveLength(40);
    memory.release(held, true);
    await expect(memory.acquire(101)).rejects.toSatisfy((e) => isSluiceError(e, "bug"));
  });
});

describe("parts of a file", () => {
  it("are all of the range, in order, within the memory there is", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: content.length }),
        fc.integer({ min: 0, max: content.length }),
        fc.integer({ min: 1, max: 4000 }),
        async (a, b, bytes) => {
          const [start, end] = [Math.min(a, b), Math.max(a, b)];
          const partBytes = Math.max(bytes, Math.ceil((end - start) / 50));
          const memory = new UploadMemory(2 * partBytes);
          const found: Buffer[] = [];
          for await (const part of readParts(file, { start, end, partBytes }, undefined, memory)) {
            expect(part.offset).toBe(start + part.index * partBytes);
            found.push(Buffer.from(part.bytes));
            part.release(true);
          }
          expect(Buffer.concat(found).equals(content.subarray(start, end))).toBe(true);
          expect(memory.used).toBe(0);
        },
      ),
      { numRuns: 40 },
    );
  });

  it("stop being read when nobody takes them, and give everything back when that ends", async () => {
    const memory = new UploadMemory(3000);
    const parts = readParts(file, { end: content.length, partBytes: 1000 }, undefined, memory);
    const { value: first } = (await parts.next()) as IteratorYieldResult<FilePart>;
    for (let i = 0; i < 20; i++) await setImmediate();
    expect(memory.used).toBeLessThanOrEqual(2000);
    first.release(true);
    first.release(true);
    await parts.return();
    expect(memory.used).toBe(0);
  });

  it("say when the file is shorter than it was", async () => {
    const memory = new UploadMemory(9000);
    const all = (async () => {
      for await (const part of readParts(file, { end: 11_000, partBytes: 4000 }, undefined, memory))
        part.release(true);
    })();
    await expect(all).rejects.toSatisfy((e) => isSluiceError(e, "store") && e.message.includes("10007"));
    expect(memory.used).toBe(0);
  });
});

describe("sending parts", () => {
  it("has several under way, never more than asked for, and sends each once", async () => {
    const memory = new UploadMemory(6000);
    const found = new Map<number, Buffer>();
    let now = 0;
    let most = 0;
    let open = () => {};
    const three = new Promise<void>((resolve) => {
      open = resolve;
    });
    await sendParts(
      file,
      { end: content.length, partBytes: 1000, inFlight: 3 },
      async ({ index, bytes }) => {
        most = Math.max(most, ++now);
        if (now === 3) open();
        await three;
        expect(found.has(index)).toBe(false);
        found.set(index, Buffer.from(bytes));
        await setImmediate();
        now -= 1;
      },
      undefined,
      memory,
    );
    expect(most).toBe(3);
    const inOrder = [...found].sort(([a], [b]) => a - b).map(([, bytes]) => bytes);
    expect(Buffer.concat(inOrder).equals(content)).toBe(true);
    expect(memory.used).toBe(0);
  });

  it("ends with the first failure, the others aborted and waited for", async () => {
    const memory = new UploadMemory(6000);
    let aborted = 0;
    let waiting = 0;
    const sending = sendParts(
      file,
      { end: content.length, partBytes: 1000, inFlight: 3 },
      async ({ index }, signal) => {
        if (index === 2) {
          // When the others are under way.
          while (waiting < 2) await setImmediate();
          throw new Error("refused");
        }
        waiting += 1;
        await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
        aborted += 1;
        throw signal.reason;
      },
      undefined,
      memory,
    );
    await expect(sending).rejects.toThrow("refused");
    expect(aborted).toBe(2);
    expect(memory.used).toBe(0);
  });

  it("ends with the caller's abort, also while there is no memory", async () => {
    const memory = new UploadMemory(1000);
    const held = await memory.acquire(1000);
    const stop = new AbortController();
    const sending = sendParts(
      file,
      { end: content.length, partBytes: 1000, inFlight: 2 },
      async () => {},
      stop.signal,
      memory,
    );
    stop.abort(new Error("stop"));
    await expect(sending).rejects.toThrow("stop");
    memory.release(held, true);
    expect(memory.used).toBe(0);
  });
});
