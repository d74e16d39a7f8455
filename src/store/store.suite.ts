// The contract of a store: every kind passes it, drivers against every server that there is for them.

import { mkdtemp, open as openFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { crc32c } from "@node-rs/crc32";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { zerosCrc } from "../../test/fake-gcs.js";
import { combineCrcs, formatCrc } from "../base/crc.js";
import { isSluiceError } from "../base/errors.js";
import { compareNames } from "./names.js";
import type { Body, NameRange, Store, Stored } from "./store.js";

/** A kind of store under test. */
export interface StoreUnderTest {
  /** Opens an empty store at a place of its own. @param folder a path that does not exist yet, or its last part as a prefix. */
  open(folder: string): Store | Promise<Store>;
  /**
   * Bytes of a file that is uploaded in several requests: it must be more than the driver sends in one. Default 3 MiB.
   */
  readonly largeBytes?: number;
  /** Faults that the server, or a proxy before it, can be made to cause: each concerns the next upload alone. */
  readonly faults?: {
    /** The next create takes effect, and its reply is lost. */
    loseReply?(): void;
    /** The next create is refused with a 503, twice. */
    refuse?(): void;
    /** The next body is damaged on its way, once. */
    damageOnce?(): void;
    /** Every body is damaged on its way, until `heal` is called. */
    damage?(): void;
    /** Whatever was ordered and has not happened is off. */
    heal?(): void;
    /** The next create is never answered. @param then called when it hangs. */
    stall?(then: () => void): void;
  };
  /** Whether the bytes of a file are compared with its checksum. (A folder takes the file as it is: whoever summed it has just read it.) */
  readonly checksFiles?: boolean;
  /** An emulator that removes an object whatever version was asked for. */
  readonly removesAnyVersion?: boolean;
  /** Whether a file of 5 GB can be stored without its bytes being moved: a sparse one. */
  readonly takesHuge?: boolean;
}

const bytes = (text: string) => new Uint8Array(Buffer.from(text));
const text = async (store: Store, name: string) => Buffer.from(await store.read(name)).toString();
const names = async (store: Store, prefix: string) => {
  const found: string[] = [];
  for await (const { name } of store.list(prefix)) found.push(name);
  return found;
};
const ODD_NAMES = [
  "a b+c",
  "100%25 & more?x=1#y",
  "é ü",
  "日本/語",
  "\u{1f30a}",
  "\uff5e",
  "...",
  "..a",
  "~'\"<>!*();:@=$,[]",
  "a.json",
  "A.json",
];

/** Runs the suite. */
export function describeStore(kind: string, underTest: StoreUnderTest): void {
  describe(`${kind} store`, () => {
    const { faults = {}, largeBytes = 3 << 20 } = underTest;
    let folder: string;
    let count = 0;
    const fresh = async () => underTest.open(join(folder, String(count++)));
    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), "sluice-store-"));
    });
    afterAll(() => rm(folder, { recursive: true }));

    /** A file whose bytes follow from a number. */
    const makeFile = async (seed: number, size = largeBytes) => {
      const file = join(folder, `file-${count++}`);
      const content = Buffer.alloc(size, Buffer.from(`${seed} sluice `));
      await writeFile(file, content);
      return { body: { file, size, crc32c: formatCrc(crc32c(content)) }, content };
    };

    it("creates once: of 32 racing writers one wins, and its bytes stand", async () => {
      const store = await fresh();
      const outcomes = await Promise.all(
        Array.from({ length: 32 }, (_, i) => store.create("a/b", bytes(`writer ${i}`))),
      );
      const winners = outcomes.flatMap((o, i) => (o === "exists" ? [] : [i]));
      expect(winners).toHaveLength(1);
      expect(await text(store, "a/b")).toBe(`writer ${winners[0]}`);
    });

    it("creates once: of 6 racing files one wins, whole", async () => {
      const store = await fresh();
      const files = await Promise.all(Array.from({ length: 6 }, (_, i) => makeFile(i)));
      const outcomes = await Promise.all(files.map(({ body }) => store.create("data/x", body)));
      const winners = files.filter((_, i) => outcomes[i] !== "exists");
      expect(winners).toHaveLength(1);
      expect(Buffer.from(await store.read("data/x")).equals(winners[0]?.content ?? Buffer.of())).toBe(true);
    });

    it("reads, heads and lists what has just been written, replaced or removed", async () => {
      const store = await fresh();
      for (let i = 0; i < 8; i++) {
        expect(await store.head(`x/${i}`)).toBeNull();
        const stored = (await store.create(`x/${i}`, bytes(`${i}`))) as Stored;
        expect(await text(store, `x/${i}`)).toBe(`${i}`);
        expect((await store.head(`x/${i}`))?.version).toBe(stored.version);
        expect(await names(store, "x/")).toHaveLength(i + 1);
      }
      const replaced = await store.replace("x/3", bytes("other"));
      expect(await text(store, "x/3")).toBe("other");
      await store.remove("x/3", replaced.version);
      expect(await store.head("x/3")).toBeNull();
      expect(await names(store, "x/")).toHaveLength(7);
      expect(await store.create("x/3", bytes("again"))).toMatchObject({ size: 5 });
    });

    it("tells size, version and checksum, and reads back whole and in ranges", async () => {
      const store = await fresh();
      const stored = await store.create("x", bytes("0123456789"));
      expect(stored).toMatchObject({
        name: "x",
        size: 10,
        crc32c: formatCrc(crc32c(Buffer.from("0123456789"))),
      });
      expect(await store.head("x")).toMatchObject({
        name: "x",
        size: 10,
        version: stored === "exists" ? "" : stored.version,
      });
      const range = async (start: number, end: number) =>
        Buffer.from(await store.read("x", { start, end })).toString();
      expect(await range(3, 6)).toBe("345");
      expect(await range(0, 1)).toBe("0");
      expect(await range(9, 10)).toBe("9");
      expect(await range(0, 10)).toBe("0123456789");
      expect(await range(4, 4)).toBe("");
      expect(await store.create("empty", new Uint8Array())).toMatchObject({ size: 0 });
      expect(await store.read("empty")).toHaveLength(0);
      expect(await store.read("empty", { start: 0, end: 0 })).toHaveLength(0);
    });

    it("says what is missing or too short", async () => {
      const store = await fresh();
      expect(await store.head("nothing")).toBeNull();
      const isData = (error: unknown) => isSluiceError(error, "data") && error.message.includes(store.uri);
      await expect(store.read("nothing")).rejects.toSatisfy(isData);
      await expect(store.read("nothing", { start: 0, end: 2 })).rejects.toSatisfy(isData);
      await store.create("x", bytes("abc"));
      await expect(store.read("x", { start: 1, end: 9 })).rejects.toSatisfy(isData);
      await expect(store.read("x", { start: 5, end: 9 })).rejects.toSatisfy(isData);
      await store.create("empty", new Uint8Array());
      await expect(store.read("empty", { start: 0, end: 1 })).rejects.toSatisfy(isData);
    });

    it("lists in order of name by prefix, folders and all", async () => {
      const store = await fresh();
      for (const name of ["tpu_1/b", "tpu_1/a/c", "tpu_10/a", "tpu_1/a.json", "other", "tpu_1/é ü%"])
        await store.create(name, bytes(name));
      expect(await names(store, "tpu_1/")).toEqual(["tpu_1/a.json", "tpu_1/a/c", "tpu_1/b", "tpu_1/é ü%"]);
      expect(await names(store, "tpu_1")).toHaveLength(5);
      expect(await names(store, "tpu_1/a")).toEqual(["tpu_1/a.json", "tpu_1/a/c"]);
      expect(await names(store, "none/")).toEqual([]);
    });

    it("lists over pages, each once, with size and version", async () => {
      const store = await fresh();
      const wanted = Array.from({ length: 60 }, (_, i) => `p/${String((i * 37) % 60).padStart(3, "0")}`);
      await Promise.all(wanted.map((name) => store.create(name, bytes(name))));
      const found: Stored[] = [];
      for await (const stored of store.list("p/")) found.push(stored);
      expect(found.map(({ name }) => name)).toEqual([...wanted].sort());
      const [first] = found;
      expect(first).toMatchObject({ size: 5, version: (await store.head("p/000"))?.version });
      // Whoever leaves early leaves nothing behind.
      for await (const { name } of store.list("p/")) if (name === "p/009") break;
    });

    it("takes names with odd characters, and lists them by code point", async () => {
      const store = await fresh();
      for (const name of ODD_NAMES)
        expect(await store.create(`odd/${name}`, bytes(name))).toMatchObject({ name: `odd/${name}` });
      expect(await names(store, "odd/")).toEqual(ODD_NAMES.map((name) => `odd/${name}`).sort(compareNames));
      for (const name of ODD_NAMES) {
        expect(await text(store, `odd/${name}`)).toBe(name);
        expect(await store.create(`odd/${name}`, bytes("again"))).toBe("exists");
        expect(await names(store, `odd/${name}`)).toContain(`odd/${name}`);
      }
      const { body } = await makeFile(1);
      expect(await store.create("odd/file é+%20 \u{1f30a}", body)).toMatchObject({ size: body.size });
      for await (const { name, version } of store.list("odd/")) await store.remove(name, version);
      expect(await names(store, "")).toEqual([]);
    });

    it("lists ranges of names that together are the whole", async () => {
      const store = await fresh();
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
      const store = await fresh();
      const first = await store.replace("x", bytes("1"));
      const second = await store.replace("x", bytes("22"));
      expect(second.version).not.toBe(first.version);
      if (!underTest.removesAnyVersion) await store.remove("x", first.version);
      expect(await text(store, "x")).toBe("22");
      await store.remove("x", second.version);
      expect(await store.head("x")).toBeNull();
      await store.remove("x", second.version);
    });

    it("takes a finished file, which may then lose its own name", async () => {
      const store = await fresh();
      const { body, content } = await makeFile(7);
      const stored = (await store.create("data/x", body)) as Stored;
      expect(stored).toMatchObject({ name: "data/x", size: content.length, crc32c: body.crc32c });
      expect(await store.create("data/x", body)).toBe("exists");
      expect((await store.head("data/x"))?.version).toBe(stored.version);
      await rm(body.file);
      expect(Buffer.from(await store.read("data/x")).equals(content)).toBe(true);
      const range = { start: content.length - 5, end: content.length };
      expect(Buffer.from(await store.read("data/x", range)).equals(content.subarray(-5))).toBe(true);
      const { body: empty } = await makeFile(0, 0);
      expect(await store.create("data/empty", empty)).toMatchObject({ size: 0 });
    });

    it.each(["../x", "a/../b", "/x", "a//b", "a/./b", "", "a\\b", "a\0b", "a\nb", "a/", "\ud800"])(
      "refuses the name %j",
      async (name) => {
        const store = await fresh();
        const isData = (error: unknown) => isSluiceError(error, "data");
        await expect(store.create(name, bytes("x"))).rejects.toSatisfy(isData);
        await expect(store.replace(name, bytes("x"))).rejects.toSatisfy(isData);
        await expect(store.read(name)).rejects.toSatisfy(isData);
        await expect(store.head(name)).rejects.toSatisfy(isData);
        await expect(store.remove(name, "1")).rejects.toSatisfy(isData);
      },
    );

    it("does nothing after an abort", async () => {
      const store = await fresh();
      const { body } = await makeFile(1);
      for (const what of [bytes("x"), body]) {
        const signal = AbortSignal.abort(new Error("stop"));
        await expect(store.create("x", what, { signal })).rejects.toThrow("stop");
      }
      await expect(
        store.replace("x", bytes("x"), { signal: AbortSignal.abort(new Error("stop")) }),
      ).rejects.toThrow("stop");
      expect(await store.head("x")).toBeNull();
    });

    it.runIf(underTest.takesHuge)("counts beyond 4 GiB", async () => {
      const store = await fresh();
      const file = join(folder, `huge-${count++}`);
      const size = 5_000_000_123;
      const tail = Buffer.from("the end of it all");
      const handle = await openFile(file, "wx");
      await handle.write(tail, 0, tail.length, size - tail.length);
      await handle.close();
      const crc = formatCrc(combineCrcs(zerosCrc(size - tail.length), crc32c(tail), tail.length));
      expect(await store.create("huge", { file, size, crc32c: crc })).toMatchObject({ size });
      expect(await store.head("huge")).toMatchObject({ size });
      expect(Buffer.from(await store.read("huge", { start: size - tail.length, end: size }))).toEqual(tail);
      const middle = await store.read("huge", { start: 2 ** 32 - 2, end: 2 ** 32 + 2 });
      expect([...middle]).toEqual([0, 0, 0, 0]);
      await expect(store.read("huge", { start: size - 1, end: size + 1 })).rejects.toThrow(/too short/);
    });

    describe.each([
      ["bytes", async (): Promise<Body> => bytes("some bytes")],
      ["a file", async (): Promise<Body> => (await makeFile(5)).body],
    ])("with %s", (_, make) => {
      it.runIf(faults.loseReply)("knows what it created though the reply was lost", async () => {
        const store = await fresh();
        const body = await make();
        faults.loseReply?.();
        const stored = (await store.create("x", body)) as Stored;
        expect(stored).toMatchObject({ name: "x", version: (await store.head("x"))?.version });
        // The very same bytes, but somebody else's: that is no reply of ours.
        expect(await store.create("x", body)).toBe("exists");
      });

      it.runIf(faults.refuse)("tries again where the store is busy", async () => {
        const store = await fresh();
        faults.refuse?.();
        expect(await store.create("x", await make())).toMatchObject({ name: "x" });
      });

      it.runIf(faults.damageOnce)("sends again what was damaged on the way", async () => {
        const store = await fresh();
        const body = await make();
        faults.damageOnce?.();
        const stored = (await store.create("x", body)) as Stored;
        const read = await store.read("x");
        expect(formatCrc(crc32c(read))).toBe(stored.crc32c);
        expect(read).toHaveLength(body instanceof Uint8Array ? body.length : body.size);
        if (!(body instanceof Uint8Array)) expect(stored.crc32c).toBe(body.crc32c);
      });

      it.runIf(faults.damage)("never takes damaged bytes for stored", async () => {
        const store = await fresh();
        const body = await make();
        faults.damage?.();
        try {
          await expect(store.create("x", body)).rejects.toSatisfy((e) => isSluiceError(e, "store"));
        } finally {
          faults.heal?.();
        }
      });

      it.runIf(faults.stall)("stops at once when it is aborted", async () => {
        const store = await fresh();
        const stop = new AbortController();
        const body = await make();
        faults.stall?.(() => stop.abort(new Error("stop")));
        await expect(store.create("x", body, { signal: stop.signal })).rejects.toThrow("stop");
      });
    });

    it.runIf(underTest.checksFiles)("refuses a file that is not what it was said to be", async () => {
      const store = await fresh();
      const { body } = await makeFile(2);
      const created = store.create("x", { ...body, crc32c: "00000001" });
      await expect(created).rejects.toSatisfy((error) => isSluiceError(error, "store"));
    });
  });
}
