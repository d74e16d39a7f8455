// Windows and contexts: every token of every document in exactly the samples that the rule says, once.

import fc from "fast-check";
import { expect, it } from "vitest";
import { USUAL_RULES } from "../../test/record-rules.js";
import { windowStarts } from "./cut.js";
import type { RawRecord } from "./fields.js";
import { RecordReader, type RecordRules } from "./records.js";
import { TOKEN_FLAGS } from "./samples.js";
import { flattenSamples, sampleUnit } from "./unit-samples.js";

const RULES: RecordRules = {
  ...USUAL_RULES,
  column: "token_ids",
  maxLength: 8,
  tooLong: "window",
  stride: 8,
  specialIds: [0],
  bosId: 0,
};

/** Documents whose token ids are all different, so that each token can be found again. */
const documents = fc
  .array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 12 })
  .map((lengths) => {
    let next = 1;
    return lengths.map((length) => Array.from({ length }, () => next++));
  });

function sample(rules: Partial<RecordRules>, docs: readonly (readonly number[])[]) {
  const records = docs.map((token_ids, record): { record: number; raw: RawRecord } => ({
    record,
    raw: { fields: { id: `d${record}`, token_ids } },
  }));
  const sampled = sampleUnit(new RecordReader({ ...RULES, ...rules }, null), records);
  const keys = sampled.samples.map(({ record, part }) => `${record}:${part}`);
  expect(new Set(keys).size).toBe(keys.length);
  return sampled;
}

it("windows begin every stride until one reaches the end", () => {
  expect(windowStarts(8, 8, 3)).toEqual([0]);
  expect(windowStarts(9, 8, 3)).toEqual([0, 3]);
  expect(windowStarts(20, 8, 8)).toEqual([0, 8, 16]);
  const sizes = fc.integer({ min: 1, max: 30 });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 200 }), sizes, sizes, (length, size, step) => {
      const stride = Math.min(step, size);
      const starts = windowStarts(length, size, stride);
      const last = starts.at(-1) ?? -1;
      expect(last + size).toBeGreaterThanOrEqual(length);
      expect(last === 0 || last - stride + size < length).toBe(true);
      // Each token is in the windows whose range it lies in: one where they stand side by side.
      if (stride < size) return;
      for (let token = 0; token < length; token++)
        expect(starts.filter((start) => token >= start && token < start + size)).toHaveLength(1);
    }),
  );
});

it("a window is the document's tokens from its offset on, and the rest is listed", () => {
  fc.assert(
    fc.property(
      documents,
      fc.integer({ min: 1, max: 8 }),
      fc.integer({ min: 1, max: 5 }),
      (docs, stride, maxParts) => {
        const { samples, leftOut } = sample({ stride, maxParts }, docs);
        for (const [record, ids] of docs.entries()) {
          const own = samples.filter((s) => s.record === record);
          const starts = windowStarts(ids.length, 8, stride).slice(0, maxParts);
          expect(own.map(({ ids }) => ids)).toEqual(starts.map((start) => ids.slice(start, start + 8)));
          expect(own.map(({ part }) => part)).toEqual(starts.map((_, part) => part));
          const read = (starts.at(-1) ?? 0) + 8;
          expect(leftOut.some((l) => l.record === record)).toBe(read < ids.length);
          if (ids.length > 8)
            expect(own.map(({ info }) => JSON.parse(info))).toEqual(
              starts.map((offset, window) => ({
                id: `d${record}`,
                window,
                offset,
                document_tokens: ids.length,
              })),
            );
        }
      },
    ),
  );
});

it("contexts hold every token of every document once, in order, none across a unit", () => {
  fc.assert(
    fc.property(
      documents,
      fc.integer({ min: 1, max: 20 }),
      fc.boolean(),
      fc.boolean(),
      (docs, size, dropShort, attendAcross) => {
        const { samples, leftOut } = sample(
          { contextSize: size, maxLength: size, dropShort, attendAcross },
          docs,
        );
        const all = docs.flat();
        const kept = dropShort ? all.length - (all.length % size) : all.length;
        expect(samples.flatMap(({ ids }) => ids)).toEqual(all.slice(0, kept));
        for (const [i, { ids }] of samples.entries())
          expect(ids.length).toBe(i < samples.length - 1 ? size : Math.min(size, kept - i * size));
        // What is left out is counted: document and tokens.
        const counted = leftOut.reduce((sum, { reason }) => {
          const [, from, to] = /^tokens (\d+) to (\d+):/.exec(reason) ?? [];
          return sum + Number(to) - Number(from) + 1;
        }, 0);
        expect(counted).toBe(all.length - kept);
        // A segment is one document's piece; a context that attends across is one segment.
        for (const { ids, segments, info } of samples) {
          const { documents: pieces } = JSON.parse(info) as {
            documents: {
              id: string;
              record: number;
              place: number;
              offset: number;
              document_tokens: number;
            }[];
          };
          expect(segments).toEqual(attendAcross ? [0] : pieces.map(({ place }) => place));
          for (const [p, { id, record, place, offset, document_tokens }] of pieces.entries()) {
            const end = pieces[p + 1]?.place ?? ids.length;
            expect(id).toBe(`d${record}`);
            expect(document_tokens).toBe(docs[record]?.length);
            expect(ids.slice(place, end)).toEqual(docs[record]?.slice(offset, offset + end - place));
          }
        }
        const flat = flattenSamples({ samples, skipped: [], leftOut, count: docs.length }, "");
        expect(flat.segmentOffsets.at(-1) ?? 0).toBe(kept);
        expect([...flat.inputOffsets].every((offset) => flat.segmentOffsets.includes(offset))).toBe(true);
      },
    ),
  );
});

it("a context is counted under the record that it begins in", () => {
  const { samples } = sample({ contextSize: 4, maxLength: 4 }, [[1, 2], [3, 4, 5, 6, 7, 8, 9, 10, 11], [12]]);
  expect(samples.map(({ record, part }) => [record, part])).toEqual([
    [0, 0],
    [1, 0],
    [1, 1],
  ]);
});

it("the last token of a sample is flagged, and every token of one that was cut", () => {
  const { cut, last, special, bos } = TOKEN_FLAGS;
  const flagsOf = (rules: Partial<RecordRules>) =>
    sample(rules, [[0, 2, 3]]).samples.map(({ flags }) => [...flags]);
  expect(flagsOf({})).toEqual([[special | bos, 0, last]]);
  expect(flagsOf({ maxLength: 2, tooLong: "cut" })).toEqual([[special | bos | cut, last | cut]]);
  expect(flagsOf({ maxLength: 2, stride: 2 })).toEqual([[special | bos | cut, last | cut], [last | cut]]);
  expect(flagsOf({ contextSize: 2, maxLength: 2 })).toEqual([[special | bos, last], [last]]);
});

it("columns are carried along, also into contexts, null where a record lacks them", () => {
  const records = [
    { raw: { fields: { id: "a", token_ids: [1], meta: { lang: "en" }, n: 5 } }, record: 0 },
    { raw: { fields: { id: "b", token_ids: [2] } }, record: 1 },
  ];
  const reader = (contextSize: number | null) =>
    new RecordReader({ ...RULES, contextSize, keepColumns: ["meta.lang", "n"] }, null);
  const infos = sampleUnit(reader(null), records).samples.map(({ info }) => JSON.parse(info) as unknown);
  expect(infos).toEqual([
    { id: "a", columns: { "meta.lang": "en", n: 5 } },
    { id: "b", columns: { "meta.lang": null, n: null } },
  ]);
  const [context] = sampleUnit(reader(8), records).samples;
  expect(JSON.parse(context?.info ?? "")).toMatchObject({
    id: "a",
    documents: [
      { id: "a", columns: { "meta.lang": "en", n: 5 }, place: 0 },
      { id: "b", columns: { "meta.lang": null, n: null }, place: 1 },
    ],
  });
});
