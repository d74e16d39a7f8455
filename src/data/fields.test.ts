// Values as JSON has them: what no double holds exactly stays readable, and is not rounded.

import { expect, it } from "vitest";
import { asJson } from "./fields.js";

it("keeps every digit of a whole number", () => {
  expect(asJson(2n ** 53n - 1n)).toBe(Number.MAX_SAFE_INTEGER);
  expect(asJson(2n ** 53n + 1n)).toBe("9007199254740993");
  expect(asJson(-(2n ** 63n))).toBe("-9223372036854775808");
  expect(asJson([1n, { a: 2n ** 60n }])).toEqual([1, { a: "1152921504606846976" }]);
});

it("says what bytes are: text, or base64", () => {
  expect(asJson(Buffer.from("naïve"))).toBe("naïve");
  expect(asJson(Uint8Array.of(0xff, 0))).toEqual({ base64: "/wA=" });
  expect(asJson(new Date(Number.NaN))).toBeNull();
});
