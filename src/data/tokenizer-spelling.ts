// Where JavaScript's regular expressions differ from Rust's, a tokenizer.json is spelt out, so that the library gives the token
// ids of Hugging Face's `tokenizers`; golden tests hold it to that.

import { z } from "zod";

/** The pattern inside tokenizers' ByteLevel (pre_tokenizers/byte_level.rs). */
const BYTE_LEVEL = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const preSchema = z.looseObject({ type: z.string() });
const byteLevelSchema = z.looseObject({
  type: z.literal("ByteLevel"),
  add_prefix_space: z.literal(false),
  use_regex: z.boolean().default(true),
});
const digitsSchema = z.looseObject({ type: z.literal("Digits"), individual_digits: z.literal(true) });
const sequenceSchema = z.looseObject({ type: z.literal("Sequence"), pretokenizers: z.array(preSchema) });
const spelledSchema = z.looseObject({ pre_tokenizer: preSchema });

/**
 * JavaScript's \s has U+FEFF, which Rust's has not, and its \d has fewer digits. The library translates the patterns of a
 * Split, but not those inside ByteLevel and Digits: so these are spelt out as a Split.
 */
export function spellOut(raw: object): object {
  const parsed = spelledSchema.safeParse(raw);
  if (!parsed.success) return raw;
  const { pre_tokenizer: pre } = parsed.data;
  const sequence = sequenceSchema.safeParse(pre);
  const parts = (sequence.success ? sequence.data.pretokenizers : [pre]).flatMap(spellOutPart);
  return { ...raw, pre_tokenizer: { type: "Sequence", pretokenizers: parts } };
}

function spellOutPart(part: object): object[] {
  const split = (Regex: string) => ({
    type: "Split",
    pattern: { Regex },
    behavior: "Isolated",
    invert: false,
  });
  if (digitsSchema.safeParse(part).success) return [split("\\p{N}")];
  const byteLevel = byteLevelSchema.safeParse(part);
  if (!byteLevel.success || !byteLevel.data.use_regex) return [part];
  return [split(BYTE_LEVEL), { ...byteLevel.data, use_regex: false }];
}
