import fc from "fast-check";
import { expect, it } from "vitest";
import { printable } from "./printable.js";

it("spells out what would steer a terminal, and leaves the rest", () => {
  expect(printable("\u001b[2Jgone\u001b]0;title\u0007\r\u009b1m\u202edlrow")).toBe(
    "\\u001b[2Jgone\\u001b]0;title\\u0007\\u000d\\u009b1m\\u202edlrow",
  );
  expect(printable("line\n\tnext: ü 漢字 👩‍👩‍👧")).toBe("line\n\tnext: ü 漢字 👩‍👩‍👧");
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      for (const char of printable(text)) {
        const code = char.codePointAt(0) ?? 0;
        expect(code >= 0x20 || code === 9 || code === 10).toBe(true);
        expect(code < 0x7f || code > 0x9f).toBe(true);
      }
    }),
  );
});
