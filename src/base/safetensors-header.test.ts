// A safetensors header may come from a stranger: whatever the bytes are, parsing ends and raises nothing but a SluiceError
// of kind `data`, and tensors that are accepted lie within the file.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { expect, it } from "vitest";
import { isSluiceError } from "./errors.js";
import { headerLength, parseSafetensorsHeader } from "./safetensors-header.js";

/** The tensors of a whole file, or why it was refused. */
function read(file: Uint8Array) {
  try {
    const length = headerLength(file.subarray(0, 8), file.length, "m.safetensors");
    expect(length + 8).toBeLessThanOrEqual(file.length);
    return parseSafetensorsHeader(file.subarray(8, 8 + length), file.length, "m.safetensors").tensors;
  } catch (error) {
    if (!isSluiceError(error, "data")) throw error;
    expect(error.message).toContain("m.safetensors");
    return error.message;
  }
}

function parse(file: Uint8Array) {
  const found = read(file);
  return typeof found === "string" ? null : found;
}

function refusal(file: Uint8Array) {
  const found = read(file);
  return typeof found === "string" ? found : "read";
}

function fileOf(header: string, data = 0): Buffer {
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt(Buffer.byteLength(header)));
  return Buffer.concat([prefix, Buffer.from(header), Buffer.alloc(data)]);
}

it("survives any change of a real file, and any cut", () => {
  const file = readFileSync(
    fileURLToPath(new URL("../../test/fixtures/models/smollm2-tied/model.safetensors", import.meta.url)),
  );
  const headerEnd = 8 + Number(file.readBigUInt64LE(0));
  const edits = fc.array(fc.tuple(fc.nat(headerEnd), fc.integer({ min: 0, max: 255 })), { maxLength: 6 });
  let accepted = 0;
  fc.assert(
    fc.property(edits, fc.nat(file.length), fc.boolean(), (changes, cut, isCut) => {
      const bytes = Buffer.from(file);
      for (const [at, value] of changes) bytes[at] = value;
      const part = isCut ? bytes.subarray(0, cut) : bytes;
      for (const { start, end } of parse(part) ?? []) {
        expect(start).toBeGreaterThanOrEqual(8);
        expect(end).toBeLessThanOrEqual(part.length);
        accepted += 1;
      }
    }),
    { numRuns: 2000 },
  );
  expect(accepted).toBeGreaterThan(100);
});

it("survives any JSON", () => {
  const size = fc.oneof(fc.nat(100), fc.double(), fc.constantFrom(-1, 2 ** 53, 1e308, "4", null));
  const tensor = fc.record(
    {
      dtype: fc.constantFrom("F32", "BF16", "F4", "__proto__", 4),
      shape: fc.oneof(fc.array(size, { maxLength: 5 }), fc.constant("4")),
      data_offsets: fc.oneof(fc.array(size, { maxLength: 3 }), fc.constant(null)),
    },
    { requiredKeys: [] },
  );
  const name = fc.oneof(fc.string(), fc.constantFrom("__proto__", "constructor", "__metadata__", ""));
  fc.assert(
    fc.property(fc.oneof(fc.dictionary(name, fc.oneof(tensor, fc.jsonValue())), fc.jsonValue()), (value) => {
      const file = fileOf(JSON.stringify(value), 64);
      for (const { start, end } of parse(file) ?? []) {
        expect(end).toBeLessThanOrEqual(file.length);
        expect(start).toBeLessThanOrEqual(end);
      }
    }),
    { numRuns: 2000 },
  );
});

const one = (fields: string) => `{"a":{${fields}}}`;
const U8 = '"dtype":"U8","shape":[4],"data_offsets":';
const two = (a: string, b: string) => `{"a":{${U8}${a}},"b":{${U8}${b}}}`;

// The Python package (0.8.0) refuses each of these too, and reads those further down.
it.each([
  [
    "a tensor of 2^55 bytes",
    one('"dtype":"F32","shape":[9007199254740991,4],"data_offsets":[0,16]'),
    16,
    /size/,
  ],
  [
    "a product that overflows",
    one('"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]'),
    0,
    /size/,
  ],
  [
    "a shape of fewer bytes",
    one('"dtype":"U8","shape":[3],"data_offsets":[0,4]'),
    4,
    /size; found 4 bytes; expected 3/,
  ],
  ["a shape that ends within a byte", one('"dtype":"F4","shape":[3],"data_offsets":[0,2]'), 2, /size/],
  ["tensors that overlap", two("[0,4]", "[3,7]"), 7, /tensors a and b overlap/],
  ["two tensors at one place", two("[0,4]", "[0,4]"), 4, /tensors a and b overlap/],
  ["a hole", two("[0,4]", "[5,9]"), 9, /hole between a and b; found 1 byte/],
  ["a hole before the first", one(`${U8}[1,5]`), 5, /hole between the header and a/],
  [
    "an empty tensor within another",
    `{"a":{${U8}[0,4]},"b":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}}`,
    4,
    /overlap/,
  ],
  ["a file that is longer", one(`${U8}[0,4]`), 5, /longer than its header says; found \d+ bytes; expected/],
  ["data without a tensor", "{}", 4, /longer than its header says/],
  ["a file that is shorter", one(`${U8}[0,4]`), 3, /truncated in tensor a/],
  ["offsets that run backwards", `{"a":{${U8}[4,0]},"b":{${U8}[0,4]}}`, 4, /size/],
  ["an unknown dtype", one('"dtype":"constructor","shape":[4],"data_offsets":[0,4]'), 4, /unknown dtype/],
  ["one offset", one(`${U8}[4]`), 4, /no dtype, shape and offsets/],
  ["a tensor's field twice", one(`"dtype":"U8",${U8}[0,4]`), 4, /key twice/],
  ["metadata twice", `{"__metadata__":{},"__metadata__":{},"a":{${U8}[0,4]}}`, 4, /key twice/],
  ["metadata that is a number", `{"__metadata__":{"b":1},"a":{${U8}[0,4]}}`, 4, /__metadata__/],
  ["metadata that is a list", `{"__metadata__":[],"a":{${U8}[0,4]}}`, 4, /__metadata__/],
  ["a mark of byte order", `\ufeff${one(`${U8}[0,4]`)}`, 4, /not JSON/],
  ["bytes behind the JSON", `${one(`${U8}[0,4]`)}\0`, 4, /not JSON/],
  ["a list", "[]", 0, /not an object/],
  ["JSON that is nested without end", `{"a":${"[".repeat(50_000)}`, 0, /not JSON/],
] as const)("refuses %s", (_, header, data, message) => {
  expect(refusal(fileOf(header, data))).toMatch(message);
});

it.each([
  ["tensors in any order of names", two("[4,8]", "[0,4]"), 8, 2],
  [
    "empty tensors at the start and between",
    `{"a":{${U8}[0,4]},"b":{"dtype":"F32","shape":[2,0],"data_offsets":[4,4]},"c":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`,
    4,
    3,
  ],
  ["a scalar", one('"dtype":"F32","shape":[],"data_offsets":[0,4]'), 4, 1],
  ["elements narrower than a byte", one('"dtype":"F6_E2M3","shape":[4],"data_offsets":[0,3]'), 3, 1],
  ["metadata of nothing, spaces and more fields", `{"__metadata__":null,"a":{"x":1,${U8}[0,4]}}  `, 4, 1],
  ["no tensor", "{}", 0, 0],
] as const)("reads %s", (_, header, data, count) => {
  expect(parse(fileOf(header, data))).toHaveLength(count);
});
