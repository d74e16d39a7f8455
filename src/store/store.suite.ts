// The contract of a store: every kind passes it.

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { crc32c } from "@node-rs/crc32";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { formatCrc } from "../base/crc.js";
import { isSluiceError } from "../base/errors.js";
import type { NameRange, Store } from "./store.js";

const bytes = (text: string) => new Uint8Array(Buffer.from(text));
const names = async (store: Store, prefix: string) => {
  const found: string[] = [];
  for await (const { name } of store.list(prefix)) found.push(name);
  return found;
};

/** Runs the suite. @param open gives an empty store in a folder of its own. */
export function describeStore(kind: string, open: (folder: string) => Store): void {
  describe(`${kind} store`, () => {
    let folder: string;
    let count = 0;
    const fresh = () => open(join(folder, String(count++)));
    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), "sluice-store-"));
    });
    afterAll(() => rm(folder, { recursive: true }));

    it("creates once: of 32 racing writers one wins, and its bytes stand", async () => {
      const store = fresh();
      const outcomes = await Promise.all(
        Array.from({ length: 32 }, (_, i) => store.create("a/b", bytes(`writer ${i}`))),
      );
      const winners = outcomes.flatMap((o, i) => (o === "exists" ? [] : [i]));
      expect(winners).toHaveLength(1);
      expect(Buffer.from(await store.read("a/b")).toString()).toBe(`writer ${winners[0]}`);
    });

    it("tells size, version and checksum, and reads back whole and in ranges", async () => {
      const store = fresh();
      const stored = await store.create("x", bytes("0123456789"));
      expect(stored).toMatchObject({
        name: "x",
        size: 10,
        crc32c: formatCrc(crc32c(Buffer.from("0123456789"))),
      });
      expect(await store.head("x")).toMatchObject({
        size: 10,
        version: stored === "exists" ? "" : stored.version,
      });
      expect(Buffer.from(await store.read("x", { start: 3, end: 6 })).toString()).toBe("345");
      expect(await store.create("empty", new Uint8Array())).toMatchObject({ size: 0 });
      expect(await store.read("empty")).toHaveLength(0);
    });

    it("says what is missing or too short", async () => {
      const store = fresh();
      expect(await store.head("nothing")).toBeNull();
      await expect(store.read("nothing")).rejects.toSatisfy((e) => isSluiceError(e, "data"));
      await store.create("x", bytes("abc"));
      await expect(store.read("x", { start: 1, end: 9 })).rejects.toSatisfy((e) => isSluiceError(e, "data"));
    });

    it("lists in order of name by prefix, folders and all", async () => {
      const store = fresh();
      for (const name of ["tpu_1/b", "tpu_1/a/c", "tpu_10/a", "tpu_1/a.json", "other", "tpu_1/é ü%"])
        await store.create(name, bytes(name));
      expect(await names(store, "tpu_1/")).toEqual(["tpu_1/a.json", "tpu_1/a/c", "tpu_1/b", "tpu_1/é ü%"]);
      expect(await names(store, "tpu_1")).toHaveLength(5);
      expect(await names(store, "tpu_1/a")).toEqual(["tpu_1/a.json", "tpu_1/a/c"]);
      expect(await names(store, "none/")).toEqual([]);
    });

    it("lists ranges of names that together are the whole", async () => {
      const store = fresh();
      const all = ["p/0/a", "p/0/b.json", "p/1", "p/10/é", "p/2/x", "q"];
      for (const name of all) await store.create(name, bytes(name));
      const listed = async (range: NameRange) => {
        const found: string[] = [];
        for await (const { name } of store.list("p/", range)) found.push(name);
        return found;
      };
      expect(await listed({ from: "p/1" })).toEqual(["p/1", "p/10/é", "p/2/x"]);
      expect(await listed({ to: "p/1" })).toEqual(["p/0/a", "p/0/b.json"]);
      expect(await listed({ from: "p/0/b", to: "p/10/z" })).toEqual(["p/0/b.json", "p/1"]);
      expect(await listed({ from: "a", to: "z" })).toEqual(all.slice(0, 5));
      expect(await listed({ from: "p/3" })).toEqual([]);
    });

    it("replaces, and removes only the version that was meant", async () => {
      const store = fresh();
      const first = await store.replace("x", bytes("1"));
      const second = await store.replace("x", bytes("22"));
      expect(second.version).not.toBe(first.version);
      await store.remove("x", first.version);
      expect(Buffer.from(await store.read("x")).toString()).toBe("22");
      await store.remove("x", second.version);
      expect(await store.head("x")).toBeNull();
      await store.remove("x", second.version);
    });

    it("takes a finished file, which may then lose its own name", async () => {
      const store = fresh();
      const file = join(folder, `file-${count}`);
      const content = Buffer.alloc(3 << 20, 7);
      await writeFile(file, content);
      const body = { file, size: content.length, crc32c: formatCrc(crc32c(content)) };
      expect(await store.create("data/x", body)).toMatchObject({ size: content.length, crc32c: body.crc32c });
      expect(await store.create("data/x", body)).toBe("exists");
      await rm(file);
      expect(Buffer.from(await store.read("data/x")).equals(content)).toBe(true);
    });

    it.each(["../x", "a/../b", "/x", "a//b", "a/./b", "", "a\\b", "a\0b"])(
      "refuses the name %j",
      async (name) => {
        const store = fresh();
        await expect(store.create(name, bytes("x"))).rejects.toSatisfy((e) => isSluiceError(e, "data"));
        await expect(store.read(name)).rejects.toSatisfy((e) => isSluiceError(e, "data"));
      },
    );

    it("does nothing after an abort", async () => {
      const store = fresh();
      await expect(
        store.create("x", bytes("x"), { signal: AbortSignal.abort(new Error("stop")) }),
      ).rejects.toThrow("stop");
      expect(await store.head("x")).toBeNull();
    });
  });
}
