// Text to token ids, by the model folder's own tokenizer.json. Token ids are those of Hugging Face's `tokenizers`; golden
// tests hold the library to it.

import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers";
import { z } from "zod";
import { SluiceError, systemCode } from "../base/errors.js";

const tokenizerSchema = z.looseObject({
  added_tokens: z
    .array(z.looseObject({ id: z.number().int(), content: z.string(), special: z.boolean() }))
    .default([]),
});
const tokenSchema = z.union([z.string(), z.looseObject({ content: z.string() })]).nullish();
const configSchema = z.looseObject({ bos_token: tokenSchema, eos_token: tokenSchema });

/** What `--bos` says: what the tokenizer does itself, always one, or never. */
export type BosRule = "tokenizer" | "always" | "never";

/** A tokenizer, opened. */
export interface Tokenizer {
  /** SHA-256 of tokenizer.json and tokenizer_config.json. */
  readonly sha256: string;
  /** Ascending. */
  readonly specialIds: readonly number[];
  readonly bosId: number | null;
  readonly eosIds: readonly number[];
  /** @throws SluiceError `config` for `always` where the tokenizer names no BOS. */
  encode(text: string, bos: BosRule): number[];
  decode(ids: readonly number[]): string;
}

/** The tokenizer of a model's folder, or null where it has none. @throws SluiceError `config` where its files are malformed. */
export async function openTokenizer(folder: string): Promise<Tokenizer | null> {
  const json = await readIfThere(join(folder, "tokenizer.json"));
  if (json === null) return null;
  const configText = (await readIfThere(join(folder, "tokenizer_config.json"))) ?? "{}";
  try {
    return new FolderTokenizer(json, configText);
  } catch (cause) {
    throw new SluiceError("config", `the tokenizer at ${folder} cannot be read`, {
      found: cause instanceof Error ? cause.message : String(cause),
      fix: "Download tokenizer.json and tokenizer_config.json again.",
      cause,
    });
  }
}

class FolderTokenizer implements Tokenizer {
  readonly sha256: string;
  readonly specialIds: readonly number[];
  readonly bosId: number | null;
  readonly eosIds: readonly number[];
  readonly #inner: HuggingFaceTokenizer;

  constructor(json: string, configText: string) {
    const raw: object = JSON.parse(json);
    const config: object = JSON.parse(configText);
    const { added_tokens } = tokenizerSchema.parse(raw);
    const { bos_token, eos_token } = configSchema.parse(config);
    this.#inner = new HuggingFaceTokenizer(spellOutByteLevel(raw), config);
    this.sha256 = createHash("sha256").update(json).update("\0").update(configText).digest("hex");
    this.specialIds = added_tokens
      .filter((t) => t.special)
      .map((t) => t.id)
      .sort((a, b) => a - b);
    this.bosId = this.#idOf(bos_token);
    const eos = this.#idOf(eos_token);
    this.eosIds = eos === null ? [] : [eos];
  }

  encode(text: string, bos: BosRule): number[] {
    const ids: number[] = this.#inner.encode(text, { add_special_tokens: bos === "tokenizer" }).ids;
    if (bos !== "always") return ids;
    if (this.bosId !== null) return [this.bosId, ...ids];
    throw new SluiceError("config", "--bos always needs a tokenizer that names a BOS token", {
      expected: "bos_token in tokenizer_config.json",
    });
  }

  decode(ids: readonly number[]): string {
    return ids.length === 0 ? "" : this.#inner.decode([...ids], { skip_special_tokens: false });
  }

  #idOf(token: z.infer<typeof tokenSchema>): number | null {
    const content = typeof token === "string" ? token : token?.content;
    return content === undefined ? null : (this.#inner.token_to_id(content) ?? null);
  }
}

/** The pattern inside tokenizers' ByteLevel (pre_tokenizers/byte_level.rs). */
const BYTE_LEVEL = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const byteLevelSchema = z.looseObject({
  pre_tokenizer: z.looseObject({
    type: z.literal("ByteLevel"),
    add_prefix_space: z.literal(false),
    use_regex: z.boolean().default(true),
  }),
});

/**
 * JavaScript's \s has U+FEFF, which Rust's has not. The library translates the patterns of a Split, but not the one inside
 * ByteLevel: so that one is spelt out as a Split.
 */
function spellOutByteLevel(raw: object): object {
  const parsed = byteLevelSchema.safeParse(raw);
  if (!parsed.success || !parsed.data.pre_tokenizer.use_regex) return raw;
  const split = { type: "Split", pattern: { Regex: BYTE_LEVEL }, behavior: "Isolated", invert: false };
  const pretokenizers = [split, { ...parsed.data.pre_tokenizer, use_regex: false }];
  return { ...raw, pre_tokenizer: { type: "Sequence", pretokenizers } };
}

async function readIfThere(file: string): Promise<string | null> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    if (systemCode(error) === "ENOENT") return null;
    throw error;
  }
}
