// A GGUF header may come from a stranger: whatever the bytes are, parsing ends, stays within them, and raises nothing but a
// SluiceError of kind `config`.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isSluiceError } from "./errors.js";
import { type GgufHeader, parseGgufHeader } from "./gguf-header.js";

/** Writes what tests need of the format. */
class Writer {
  readonly #parts: Buffer[] = [];

  u32(value: number): this {
    const b = Buffer.alloc(4);
    b.writeUInt32LE(value);
    return this.#push(b);
  }

  u64(value: number | bigint): this {
    const b = Buffer.alloc(8);
    b.writeBigUInt64LE(BigInt(value));
    return this.#push(b);
  }

  text(value: string): this {
    return this.u64(Buffer.byteLength(value)).#push(Buffer.from(value));
  }

  bytes(): Buffer {
    return Buffer.concat(this.#parts);
  }

  #push(bytes: Buffer): this {
    this.#parts.push(bytes);
    return this;
  }
}

const start = (tensors: number | bigint, pairs: number | bigint, version = 3) =>
  new Writer().u32(0x46554747).u32(version).u64(tensors).u64(pairs);
const tensor = (
  w: Writer,
  name: string,
  dims: readonly (number | bigint)[],
  type: number,
  offset: number | bigint,
) => {
  w.text(name).u32(dims.length);
  for (const n of dims) w.u64(n);
  return w.u32(type).u64(offset);
};
const message = (bytes: Uint8Array, fileSize = bytes.length): string => {
  try {
    parseGgufHeader(bytes, fileSize, "m.gguf");
  } catch (error) {
    if (isSluiceError(error, "config")) return error.message;
    throw error;
  }
  return "accepted";
};

describe("parseGgufHeader", () => {
  it("reads versions 2 and 3: every kind of value, and where tensors lie", () => {
    for (const version of [2, 3]) {
      const w = start(2, 4, version).text("a").u32(8).text("né");
      w.text("b").u32(9).u32(5).u64(2).u32(7).u32(0xffffffff);
      w.text("c")
        .u32(10)
        .u64(2n ** 63n)
        .text("general.alignment")
        .u32(4)
        .u32(64);
      tensor(w, "two", [32, 3], 8, 64);
      tensor(w, "one", [5], 0, 0);
      const size = Math.ceil(w.bytes().length / 64) * 64 + 64 + 102;
      const header = parseGgufHeader(w.bytes(), size, "m.gguf") as GgufHeader;
      expect(Object.fromEntries(header.metadata)).toMatchObject({ a: "né", b: [7, -1], c: 2n ** 63n });
      expect(header.tensors.map(({ name, shape, length }) => ({ name, shape, length }))).toEqual([
        { name: "one", shape: [5], length: 20 },
        { name: "two", shape: [3, 32], length: 102 },
      ]);
      expect((header.tensors[0]?.offset ?? 1) % 64).toBe(0);
      expect(message(w.bytes(), size - 1)).toMatch(
        /truncated in tensor two; found \d+ bytes; expected at least \d+/,
      );
    }
  });

  it("asks for more where the header goes on", () => {
    expect(parseGgufHeader(start(1, 0).bytes(), 10_000, "m.gguf")).toBe("more");
    expect(message(start(1, 0).bytes())).toMatch(/truncated, or no GGUF file/);
  });

  it.each([
    ["another format", Buffer.from("PK\u0003\u0004............"), /no GGUF file/],
    ["an empty file", Buffer.alloc(0), /truncated, or no GGUF/],
    ["version 1", start(0, 0, 1).bytes(), /version is not supported; found 1; expected 2 or 3/],
    ["big-endian", start(0, 0, 0x03000000).bytes(), /big-endian/],
    ["2^60 pairs", start(0, 2n ** 60n).bytes(), /metadata pairs.*impossible/],
    ["2^50 tensors", start(2n ** 50n, 0).bytes(), /tensors is impossible/],
    [
      "a text of 2^63 bytes",
      start(0, 1)
        .u64(2n ** 63n)
        .bytes(),
      /length of a text that is impossible/,
    ],
    [
      "a text of 4 GB",
      start(0, 1)
        .u64(2n ** 32n)
        .bytes(),
      /longer than any header/,
    ],
    [
      "an array of 2^40 bytes",
      start(0, 1)
        .text("k")
        .u32(9)
        .u32(0)
        .u64(2n ** 40n)
        .bytes(),
      /value of k is longer/,
    ],
    ["an array of arrays", start(0, 1).text("k").u32(9).u32(9).u64(1).bytes(), /array of an unknown type/],
    [
      "an unknown kind of value",
      start(0, 1).text("k").u32(99).bytes(),
      /value of k has an unknown type; found 99/,
    ],
    ["a key twice", start(0, 2).text("k").u32(4).u32(1).text("k").bytes(), /k is there twice/],
    ["alignment 0", start(0, 1).text("general.alignment").u32(4).u32(0).bytes(), /alignment is impossible/],
    [
      "nine dimensions",
      tensor(start(1, 0), "t", Array(9).fill(1), 0, 0).bytes(),
      /number of dimensions; found 9/,
    ],
    ["no dimension", tensor(start(1, 0), "t", [], 0, 0).bytes(), /number of dimensions; found 0/],
    ["an empty dimension", tensor(start(1, 0), "t", [0, 4], 0, 0).bytes(), /empty dimension/],
    [
      "a size that overflows",
      tensor(start(1, 0), "t", [2n ** 30n, 2n ** 30n], 0, 0).bytes(),
      /impossible size/,
    ],
    [
      "an offset that overflows",
      tensor(start(1, 0), "t", [4], 0, 2n ** 60n).bytes(),
      /offset that is impossible/,
    ],
    [
      "an unaligned offset",
      tensor(start(1, 0), "t", [4], 0, 3).bytes(),
      /not aligned to 32 bytes; found offset 3/,
    ],
    ["half a block", tensor(start(1, 0), "t", [33], 8, 0).bytes(), /blocks of Q8_0; found rows of 33/],
    [
      "a type by name",
      tensor(start(1, 0), "t.weight", [256], 13, 0).bytes(),
      /t.weight has a type.*found Q5_K/,
    ],
    ["an unknown type", tensor(start(1, 0), "t", [256], 77, 0).bytes(), /found type 77; expected F32, F16/],
  ])("refuses %s", (_, bytes, expected) => {
    expect(message(bytes)).toMatch(expected);
  });

  it("refuses tensors that overlap or share a name", () => {
    const two = (name: string, offset: number) =>
      tensor(tensor(start(2, 0), "a", [64], 0, 0), name, [4], 0, offset).bytes();
    expect(message(two("b", 128), 10_000)).toMatch(/tensor b overlaps tensor a/);
    expect(message(two("a", 256), 10_000)).toMatch(/tensor a is there twice/);
    expect(message(two("b", 256), 10_000)).toBe("accepted");
  });

  it("survives any change of a real file, and any bytes", () => {
    const file = readFileSync(
      fileURLToPath(new URL("../../test/fixtures/gguf/smollm2-tied.gguf", import.meta.url)),
    );
    const headerEnd = file.indexOf("output_norm.weight") + 200;
    const edits = fc.array(fc.tuple(fc.nat(headerEnd), fc.integer({ min: 0, max: 255 })), {
      minLength: 1,
      maxLength: 8,
    });
    let accepted = 0;
    fc.assert(
      fc.property(edits, fc.nat(file.length), fc.boolean(), (changes, cut, isCut) => {
        const bytes = Buffer.from(file);
        for (const [at, value] of changes) bytes[at] = value;
        const part = isCut ? bytes.subarray(0, cut) : bytes;
        try {
          const header = parseGgufHeader(part, part.length, "m.gguf");
          if (header === "more") throw new Error("asked for more than there is");
          for (const { offset, length } of header.tensors)
            expect(offset + length).toBeLessThanOrEqual(part.length);
          accepted += 1;
        } catch (error) {
          if (!isSluiceError(error, "config")) throw error;
        }
      }),
      { numRuns: 3000 },
    );
    expect(accepted).toBeGreaterThan(50);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(1000), (rest, more) => {
        expect(
          message(Buffer.concat([start(1, 1).bytes().subarray(0, 8), rest]), 8 + rest.length + more),
        ).toBeTypeOf("string");
      }),
      { numRuns: 2000 },
    );
  });
});
