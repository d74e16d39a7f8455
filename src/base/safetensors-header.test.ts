// A safetensors header may come from a stranger: whatever the bytes are, parsing ends and raises nothing but a SluiceError
// of kind `data`, and tensors that are accepted lie within the file.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { expect, it } from "vitest";
import { isSluiceError } from "./errors.js";
import { headerLength, parseSafetensorsHeader } from "./safetensors-header.js";

/** The tensors of a whole file, or null where it was refused. */
function parse(file: Uint8Array) {
  try {
    const length = headerLength(file.subarray(0, 8), file.length, "m.safetensors");
    expect(length + 8).toBeLessThanOrEqual(file.length);
    return parseSafetensorsHeader(file.subarray(8, 8 + length), file.length, "m.safetensors").tensors;
  } catch (error) {
    if (!isSluiceError(error, "data")) throw error;
    expect(error.message).toContain("m.safetensors");
    return null;
  }
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

it.each([
  ["a hole of 2^53", '{"a":{"dtype":"F32","shape":[9007199254740991,4],"data_offsets":[0,16]}}'],
  ["a product that overflows", '{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}'],
  [
    "tensors that overlap",
    '{"a":{"dtype":"U8","shape":[9],"data_offsets":[0,9]},"b":{"dtype":"U8","shape":[9],"data_offsets":[8,17]}}',
  ],
  ["a tensor behind the end", '{"a":{"dtype":"U8","shape":[65],"data_offsets":[0,65]}}'],
  ["offsets that run backwards", '{"a":{"dtype":"U8","shape":[4],"data_offsets":[8,4]}}'],
  ["JSON that is nested without end", `{"a":${"[".repeat(50_000)}`],
])("refuses %s", (_, header) => {
  expect(parse(fileOf(header, 64))).toBeNull();
});
