import fc from "fast-check";
import { expect, it } from "vitest";
import { hasKeyTwice, MAX_DEPTH, parseJson, parseJsonBytes } from "./parse-json.js";

it("parses what JSON.parse parses, brackets and quotes in texts included", () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const text = JSON.stringify(value);
      expect(parseJson(text)).toEqual(JSON.parse(text));
      expect(parseJsonBytes(Buffer.from(text))).toEqual(JSON.parse(text));
      for (const spaced of [text, JSON.stringify(value, null, 1)])
        expect(hasKeyTwice(spaced, JSON.parse(spaced))).toBe(false);
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

it("sees a key that an object has twice, wherever it is and however it is spelled", () => {
  for (const text of [
    '{"a":1,"a":1}',
    '[{"b":[{"a":1 , "a"\n:2}]}]',
    '{"a":1,"\\u0061":1}',
    '{"\\\\":1,"\\"":2,"\\\\":3}',
    '{"":"","":""}',
    '{"__proto__":1,"__proto__":2}',
  ])
    expect(hasKeyTwice(text, parseJson(text)), text).toBe(true);
  for (const text of ['{"a":{"a":["a:","\\":",{"a":"a"}]}}', '{"__proto__":1}', '"a"', '["a","a"]'])
    expect(hasKeyTwice(text, parseJson(text)), text).toBe(false);
});
