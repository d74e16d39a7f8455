// How records become samples where a test does not care: text, cut after 100 tokens.

import type { RecordRules } from "../src/data/records.js";

export const USUAL_RULES: RecordRules = {
  prompt: "text",
  column: "text",
  keepColumns: [],
  augment: 1,
  bos: "tokenizer",
  maxLength: 100,
  tooLong: "cut",
  stride: 100,
  maxParts: 64,
  contextSize: null,
  attendAcross: false,
  dropShort: false,
  positions: { kind: "all" },
  skipSpecial: false,
  seed: 1,
  vocabulary: 1_000_000,
  specialIds: [],
  bosId: null,
  eosIds: [],
};
