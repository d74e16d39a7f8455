// What a record's documents become, where the numbering of parts and the preview could go wrong.

import { expect, it } from "vitest";
import { USUAL_RULES } from "../../test/record-rules.js";
import { roleCode } from "./chat-template.js";
import { packContexts } from "./contexts.js";
import { cutRecord } from "./cut.js";
import { type Document, RecordReader, type RecordRules } from "./records.js";

const readerOf = (rules: Partial<RecordRules>) => new RecordReader({ ...USUAL_RULES, ...rules }, null);

function documentOf(ids: readonly number[], changes: Partial<Document> = {}): Document {
  return {
    variant: 0,
    ids,
    flags: new Uint8Array(ids.length),
    roles: null,
    text: null,
    info: { id: "r" },
    ...changes,
  };
}

it("a document that is left out keeps its number: those after it have the same in every run", () => {
  const documents = [[1], [2, 3, 4], [5]].map((ids) => documentOf(ids));
  const { samples, leftOut } = cutRecord(
    readerOf({ maxLength: 2, tooLong: "skip" }),
    { id: "r", documents },
    7,
  );
  expect(samples.map(({ part, ids }) => [part, ids])).toEqual([
    [0, [1]],
    [2, [5]],
  ]);
  expect(leftOut).toEqual(["part 1: 3 tokens, more than 2"]);
});

it("the document's text is the preview of its beginning alone", () => {
  const document = documentOf([1, 2, 3], { text: "the text" });
  const cut = (rules: Partial<RecordRules>) =>
    cutRecord(readerOf({ maxLength: 2, ...rules }), { id: "r", documents: [document] }, 0).samples.map(
      ({ preview }) => preview,
    );
  expect(cut({ tooLong: "window", stride: 2 })).toEqual(["the text", ""]);
  expect(cut({ tooLong: "cut" })).toEqual(["the text"]);
  expect(cut({ tooLong: "cut-left" })).toEqual([""]);
});

it("a context knows whose words its tokens are, also where a document goes on in it", () => {
  const [user, assistant] = [roleCode("user"), roleCode("assistant")];
  const documents = [
    [user, user, user, assistant],
    [assistant, user],
  ].map((roles, record) => ({
    record,
    id: `d${record}`,
    document: documentOf(
      roles.map((_, i) => i),
      { roles: Uint8Array.from(roles) },
    ),
  }));
  const rules = { contextSize: 3, positions: { kind: "role", role: "assistant" } } as const;
  const { samples } = packContexts(readerOf(rules), documents);
  expect(samples.map(({ positions }) => positions)).toEqual([[], [0, 1]]);
});

it("a document of exactly the length that is allowed is not cut", () => {
  const lengths = [2, 3].map((length) => {
    const document = documentOf(Array.from({ length }, () => 1));
    const rules = { maxLength: 2, tooLong: "skip" } as const;
    return cutRecord(readerOf(rules), { id: "r", documents: [document] }, 0).samples.length;
  });
  expect(lengths).toEqual([1, 0]);
});
