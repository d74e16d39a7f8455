import fc from "fast-check";
import { expect, it } from "vitest";
import { MAX_DEPTH, parseJson, parseJsonBytes } from "./parse-json.js";

it("parses what JSON.parse parses, brackets and quotes in texts included", () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const text = JSON.stringify(value);
      expect(parseJson(text)).toEqual(JSON.parse(text));
      expect(parseJsonBytes(Buffer.from(text))).toEqual(JSON.parse(text));
    }),
  );
  const brackets = JSON.stringify({ a: '[{"\\'.repeat(500), b: "\\" });
  expect(parseJson(brackets)).toEqual(JSON.parse(brackets));
  for (const broken of ['"', '{"a', "[", "", '"\\']) expect(() => parseJson(broken)).toThrow(SyntaxError);
});

it("refuses what is nested too deep, at any size at once", () => {
  const nest = (depth: number) => "[".repeat(depth) + "]".repeat(depth);
  expect(parseJson(nest(MAX_DEPTH))).toBeInstanceOf(Array);
  for (const text of [nest(MAX_DEPTH + 1), nest(1_000_000), `${'{"a":'.repeat(201)}1${"}".repeat(201)}`])
    expect(() => parseJson(text)).toThrow(/^nested more than 200 deep$/);
});
