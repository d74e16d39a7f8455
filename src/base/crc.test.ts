import { crc32c } from "@node-rs/crc32";
import fc from "fast-check";
import { expect, it } from "vitest";
import { combineCrcs } from "./crc.js";

it("combines the checksums of two pieces into that of both", () => {
  const piece = fc.uint8Array({ maxLength: 5000 });
  fc.assert(
    fc.property(piece, piece, (a, b) => {
      expect(combineCrcs(crc32c(a), crc32c(b), b.length)).toBe(crc32c(Buffer.concat([a, b])));
    }),
  );
  const large = Buffer.alloc(70_000_001, 7);
  const cut = 3_000_000;
  const sums = [crc32c(large.subarray(0, cut)), crc32c(large.subarray(cut))] as const;
  expect(combineCrcs(...sums, large.length - cut)).toBe(crc32c(large));
});
