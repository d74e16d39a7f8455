import fc from "fast-check";
import { expect, it } from "vitest";
import { compareNames, isName } from "./names.js";

it("orders names as their UTF-8 bytes are ordered", () => {
  const text = fc.string({ unit: "binary" });
  fc.assert(
    fc.property(text, text, (a, b) => {
      expect(Math.sign(compareNames(a, b))).toBe(Buffer.compare(Buffer.from(a), Buffer.from(b)));
    }),
  );
  expect(["\u{10000}", "\uffff", "b", "a/b", "a"].sort(compareNames)).toEqual([
    "a",
    "a/b",
    "b",
    "\uffff",
    "\u{10000}",
  ]);
});

it.each(["a", "tpu_0/alt/x-1.json", "...", "é ü%", "\u{1f30a}", "x".repeat(1024)])("takes %j", (name) => {
  expect(isName(name)).toBe(true);
});

it.each(["a\nb", "a\u007f", "\ud800", "é".repeat(513)])("refuses %j", (name) => {
  expect(isName(name)).toBe(false);
});
