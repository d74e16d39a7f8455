// Text to token ids, by the model folder's own tokenizer.json. Token ids are those of Hugging Face's `tokenizers`; golden
// tests hold the library to it.

import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers";
import { z } from "zod";
import { messageOf, SluiceError, systemCode } from "../base/errors.js";
import { ChatTemplate } from "./chat-template.js";
import { type NormalForm, placeTokens, type TokenPlaces } from "./token-places.js";

const tokenizerSchema = z.looseObject({
  added_tokens: z
    .array(z.looseObject({ id: z.number().int(), content: z.string(), special: z.boolean() }))
    .default([]),
});
const tokenSchema = z.union([z.string(), z.looseObject({ content: z.string() })]).nullish();
const TOKEN_NAMES = [
  "bos_token",
  "eos_token",
  "unk_token",
  "sep_token",
  "pad_token",
  "cls_token",
  "mask_token",
] as const;
const namedTemplates = z.array(z.looseObject({ name: z.string(), template: z.string() }));
const configSchema = z.looseObject({
  ...Object.fromEntries(TOKEN_NAMES.map((name) => [name, tokenSchema])),
  bos_token: tokenSchema,
  eos_token: tokenSchema,
  chat_template: z.union([z.string(), namedTemplates]).nullish(),
});
const templateFileSchema = z.looseObject({ chat_template: z.string() });

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
  /** Where the tokens of an encoded text lie in it; null where that cannot be told. */
  place(text: string, ids: readonly number[]): TokenPlaces | null;
  /** The model's chat template; null where it has none. @throws SluiceError `config` where it cannot be read. */
  chatTemplate(): ChatTemplate | null;
}

/** Files of a model's folder that hold its tokenizer and chat template. */
export const TOKENIZER_FILES = [
  "tokenizer.json",
  "tokenizer_config.json",
  "chat_template.jinja",
  "chat_template.json",
] as const;

/** The tokenizer of a model's folder, or null where it has none. @throws SluiceError `config` where its files are malformed. */
export async function openTokenizer(folder: string): Promise<Tokenizer | null> {
  const [json, configText, jinja, templateJson] = await Promise.all(
    TOKENIZER_FILES.map((name) => readIfThere(join(folder, name))),
  );
  if (typeof json !== "string") return null;
  try {
    // As in transformers, the template's own file goes before the config; the JSON file is the oldest form.
    const template =
      jinja ??
      templateOf(configText ?? "{}") ??
      (typeof templateJson === "string"
        ? templateFileSchema.parse(JSON.parse(templateJson)).chat_template
        : null);
    return new FolderTokenizer(json, configText ?? "{}", template);
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
  readonly #template: string | null;
  readonly #names: Readonly<Record<string, string>>;
  readonly #added: ReadonlySet<number>;
  readonly #isByteLevel: boolean;
  readonly #form: NormalForm | null;

  constructor(json: string, configText: string, template: string | null) {
    const raw: object = JSON.parse(json);
    const config: object = JSON.parse(configText);
    const { added_tokens } = tokenizerSchema.parse(raw);
    const parsed = configSchema.parse(config);
    const { bos_token, eos_token } = parsed;
    this.#inner = new HuggingFaceTokenizer(spellOutByteLevel(raw), config);
    this.sha256 = createHash("sha256").update(json).update("\0").update(configText).digest("hex");
    this.specialIds = added_tokens
      .filter((t) => t.special)
      .map((t) => t.id)
      .sort((a, b) => a - b);
    this.bosId = this.#idOf(bos_token);
    const eos = this.#idOf(eos_token);
    this.eosIds = eos === null ? [] : [eos];
    this.#template = template;
    const names = TOKEN_NAMES.map((name) => [name, contentOf(tokenSchema.parse(parsed[name]))]);
    this.#names = Object.fromEntries(names.filter(([, content]) => content !== undefined));
    this.#added = new Set(added_tokens.map((t) => t.id));
    const types = typesIn(raw);
    this.#isByteLevel = types.has("ByteLevel");
    this.#form = (["NFC", "NFKC", "NFD", "NFKD"] as const).find((form) => types.has(form)) ?? null;
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

  place(text: string, ids: readonly number[]): TokenPlaces | null {
    const bytes: Uint8Array[] = [];
    for (const id of ids) {
      const token = this.#inner.id_to_token(id);
      if (token === undefined) return null;
      bytes.push(this.#added.has(id) ? Buffer.from(token) : this.#bytesOf(token));
    }
    // Sentencepiece has one sign for a space and for the sign itself.
    return placeTokens(this.#isByteLevel ? text : text.replaceAll(SPACE_SIGN, " "), bytes, this.#form);
  }

  chatTemplate(): ChatTemplate | null {
    if (this.#template === null) return null;
    try {
      return new ChatTemplate(this.#template, this.#names);
    } catch (cause) {
      throw new SluiceError("config", "the model's chat template cannot be read", {
        found: messageOf(cause),
        fix: "Check chat_template.jinja, or chat_template in tokenizer_config.json.",
        cause,
      });
    }
  }

  #bytesOf(token: string): Uint8Array {
    if (this.#isByteLevel) return Uint8Array.from(token, (sign) => BYTE_OF_SIGN.get(sign) ?? 0);
    const byte = /^<0x([0-9A-F]{2})>$/.exec(token)?.[1];
    return byte === undefined
      ? Buffer.from(token.replaceAll(SPACE_SIGN, " "))
      : Uint8Array.of(Number.parseInt(byte, 16));
  }

  #idOf(token: z.infer<typeof tokenSchema>): number | null {
    const content = contentOf(token);
    return content === undefined ? null : (this.#inner.token_to_id(content) ?? null);
  }
}

const SPACE_SIGN = "\u2581";

/** The byte that each sign of a byte-level token stands for: printable Latin-1 for itself, the others from U+0100 on (GPT-2's bytes_to_unicode). */
const BYTE_OF_SIGN: ReadonlyMap<string, number> = (() => {
  const isPrintable = (byte: number) =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  let next = 0x100;
  return new Map(
    Array.from({ length: 256 }, (_, byte) => [String.fromCodePoint(isPrintable(byte) ? byte : next++), byte]),
  );
})();

function contentOf(token: z.infer<typeof tokenSchema>): string | undefined {
  return typeof token === "string" ? token : token?.content;
}

/** The template in tokenizer_config.json: a text, or a list by name whose `default` is meant. */
function templateOf(configText: string): string | null {
  const { chat_template: template } = configSchema.parse(JSON.parse(configText));
  if (typeof template === "string") return template;
  return template?.find(({ name }) => name === "default")?.template ?? null;
}

/** The `type` of every part of a tokenizer but its model. */
function typesIn(tokenizer: object): ReadonlySet<string> {
  const types = new Set<string>();
  const visit = (value: unknown) => {
    if (typeof value !== "object" || value === null) return;
    if ("type" in value && typeof value.type === "string") types.add(value.type);
    for (const part of Object.values(value)) visit(part);
  };
  for (const [name, part] of Object.entries(tokenizer))
    if (name === "normalizer" || name === "pre_tokenizer" || name === "decoder") visit(part);
  return types;
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
