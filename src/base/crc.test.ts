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

it("combines pieces of any length: 600 MiB, and by doubling 64 GiB", () => {
  const block = Buffer.alloc(1 << 20);
  let zeros = 0;
  for (let i = 0; i < 600; i++) zeros = crc32c(block, zeros);
  const head = crc32c(Buffer.from("head"));
  let whole = head;
  for (let i = 0; i < 600; i++) whole = crc32c(block, whole);
  expect(combineCrcs(head, zeros, 600 << 20)).toBe(whole);
  // Zeros of length 2^k, once as two halves and once as a short piece and the rest.
  let sum = crc32c(Buffer.alloc(1));
  for (let length = 1, rest = 0; length < 2 ** 36; length *= 2) {
    rest = combineCrcs(rest, sum, length); // Of 2 * length - 1 zeros.
    sum = combineCrcs(sum, sum, length);
    expect(combineCrcs(crc32c(Buffer.alloc(1)), rest, 2 * length - 1)).toBe(sum);
  }
});
