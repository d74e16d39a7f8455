// Rows are found the same wherever the pieces of a file end.

import { expect, it } from "vitest";
import { csvFormat } from "./csv.js";

it("a piece may end anywhere: before a quote, after one, between two", () => {
  const text = Buffer.from('a,b\n1,"x\n""y"""\n"2,\n3",z\n\n4,5" w\n');
  const endsOf = (cut: number) => {
    const finder = csvFormat(",").finder();
    const ends: number[] = [];
    for (const [start, end] of [
      [0, cut],
      [cut, text.length],
    ] as const) {
      const piece = Buffer.from(text.subarray(start, end));
      for (let at = finder.next(piece, 0); at >= 0; at = finder.next(piece, at)) ends.push(start + at);
    }
    return ends;
  };
  const whole = endsOf(text.length);
  expect(whole).toHaveLength(4);
  for (let cut = 0; cut < text.length; cut++) expect(endsOf(cut), `cut at ${cut}`).toEqual(whole);
});
