// What a record gives the model to read: BOS by the rule that was asked for, token ids as they are, special tokens by id.

import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { USUAL_RULES } from "../../test/record-rules.js";
import { arcTransform } from "./augment.js";
import type { Fields } from "./fields.js";
import { RecordReader, type RecordRules } from "./records.js";
import { openTokenizer } from "./tokenizer.js";
import { sampleUnit } from "./unit-samples.js";

const FIXTURES = fileURLToPath(new URL("../../test/fixtures/gguf/tokenizers/", import.meta.url));
const RULES = USUAL_RULES;

describe("--bos", () => {
  const idsOf = async (name: string, bos: RecordRules["bos"], fields: Fields) => {
    const tokenizer = await openTokenizer(`${FIXTURES}${name}.gguf`);
    const reader = new RecordReader({ ...RULES, bos }, tokenizer);
    return reader.read({ fields }, 0).documents[0]?.ids ?? [];
  };
  const text = { text: "two words" };

  it.each(["llama-spm", "llama-bpe"])(
    "%s: what the tokenizer does itself, always one, or never one",
    async (name) => {
      const own = await idsOf(name, "tokenizer", text);
      expect(
        own.filter((id) => id === 1),
        "its BOS is 1",
      ).toEqual([1]);
      expect(own[0]).toBe(1);
      expect(await idsOf(name, "always", text)).toEqual(own);
      expect(await idsOf(name, "never", text)).toEqual(own.slice(1));
    },
  );

  it("a tokenizer without BOS adds none, and none can be asked of it", async () => {
    expect(await idsOf("gpt-2", "tokenizer", text)).toEqual(await idsOf("gpt-2", "never", text));
    await expect(idsOf("gpt-2", "always", text)).rejects.toThrow(/needs a tokenizer that names a BOS token/);
  });

  it.each(["tokenizer", "always", "never"] as const)("%s alters no token ids", async (bos) => {
    for (const ids of [
      [5, 6],
      [1, 5, 1],
    ])
      expect(await idsOf("llama-spm", bos, { token_ids: ids })).toEqual(ids);
  });
});

it("takes the ids that the vocabulary has, and no other", () => {
  const read = (id: number) =>
    new RecordReader({ ...RULES, vocabulary: 10 }, null).read({ fields: { token_ids: [0, id] } }, 0).unusable;
  expect(read(9)).toBeUndefined();
  expect(read(10)).toMatch(/token id 10 is outside the vocabulary \(0 to 9\)/);
  expect(read(-1)).toMatch(/token id -1 is outside/);
});

it("makes a task's variants by the seed, the record and the variant", async () => {
  const tokenizer = await openTokenizer(`${FIXTURES}gpt-2.gguf`);
  const pair = { input: [[1, 2]], output: [[3]] };
  const task = { train: [pair], test: [pair] };
  const reader = new RecordReader({ ...RULES, prompt: "arc", augment: 3, seed: 5 }, tokenizer);
  const { documents } = reader.read({ fields: task }, 7);
  expect(documents.map(({ info }) => info)).toEqual([
    { id: "7" },
    ...[1, 2].map((variant) => ({ id: "7", variant, ...arcTransform(5, 7, variant) })),
  ]);
});

describe("--skip-special", () => {
  /** The places of which rows are kept, of [special 0, 5, BOS 1, 6, 7, EOS 2]; null where the sample is left out. */
  const placesOf = (positions: RecordRules["positions"], ids: readonly number[] = [0, 5, 1, 6, 7, 2]) => {
    const rules = { positions, skipSpecial: true, specialIds: [0, 1, 2], bosId: 1, eosIds: [2] };
    const reader = new RecordReader({ ...RULES, ...rules }, null);
    const { samples, leftOut } = sampleUnit(reader, [{ record: 0, raw: { fields: { token_ids: ids } } }]);
    expect(leftOut).toHaveLength(samples.length === 0 ? 1 : 0);
    const [sample] = samples;
    if (sample) expect(sample.ids, "the model reads them all").toEqual(ids);
    return sample ? [...sample.positions] : null;
  };

  it("goes by id, of which 0 is one, and treats a BOS in the middle like any other", () => {
    expect(placesOf({ kind: "all" })).toEqual([1, 3, 4]);
    expect(placesOf({ kind: "first" })).toEqual([1]);
    expect(placesOf({ kind: "last" })).toEqual([4]);
    expect(placesOf({ kind: "mean" })).toEqual([1, 3, 4]);
  });

  it("leaves out by rule a sample of which nothing is left", () => {
    expect(placesOf({ kind: "last" }, [0, 1])).toBeNull();
    expect(placesOf({ kind: "mean" }, [2])).toBeNull();
  });
});
