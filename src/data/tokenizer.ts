// Text to token ids, by the model's own tokenizer: tokenizer.json of a folder, or what a GGUF file holds. Token ids are those of Hugging Face's `tokenizers`; golden
// tests hold the library to it.

import { createHash } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers";
import { z } from "zod";
import { isSluiceError, messageOf, SluiceError, systemCode } from "../base/errors.js";
import { parseJson } from "../base/parse-json.js";
import { readGgufTokenizer, readGgufTokens, type TokenizerFiles } from "./gguf-tokenizer.js";
import { type NormalForm, placeTokens, type TokenPlaces } from "./token-places.js";
import { spellOut } from "./tokenizer-spelling.js";

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
const configSchema = z.looseObject({
  ...Object.fromEntries(TOKEN_NAMES.map((name) => [name, tokenSchema])),
  bos_token: tokenSchema,
  eos_token: tokenSchema,
  chat_template: z
    .union([z.string(), z.array(z.looseObject({ name: z.string(), template: z.string() }))])
    .nullish()
    .catch(null),
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
  /** The model's own chat template (Jinja): the default one where there are several. */
  readonly chatTemplate: string | null;
  /** `bos_token`, `eos_token` and so on, as the template knows them. */
  readonly namedTokens: Readonly<Record<string, string>>;
  /** tokenizer.json and tokenizer_config.json, as text, for whoever keeps them with the run. */
  readonly files: TokenizerFiles;
  /** @throws SluiceError `config` for `always` where the tokenizer names no BOS. */
  encode(text: string, bos: BosRule): number[];
  decode(ids: readonly number[]): string;
  /** Where the tokens of an encoded text lie in it; null where that cannot be told. */
  place(text: string, ids: readonly number[]): TokenPlaces | null;
}

/**
 * The tokenizer of a model's folder or GGUF file, or null where it has none. A GGUF file's own tokenizer is taken, whatever
 * else lies in its folder; only where it is of a kind that is not known, a tokenizer.json beside it is.
 * @throws SluiceError `config` where it is malformed, or of a kind that is not known.
 */
export async function openTokenizer(model: string): Promise<Tokenizer | null> {
  const isFile = await stat(model).then(
    (facts) => facts.isFile(),
    () => false,
  );
  if (!isFile) return openFolder(model);
  let files: TokenizerFiles | null;
  try {
    files = await readGgufTokenizer(model);
  } catch (error) {
    const beside = isSluiceError(error, "config") ? await openFolder(dirname(model)) : null;
    if (!beside) throw error;
    refuseOtherVocabulary(beside, await readGgufTokens(model), model);
    return beside;
  }
  return files && parse(files, null, model);
}

const vocabularySchema = z.looseObject({
  model: z.looseObject({ vocab: z.record(z.string(), z.number()) }),
});

/** A tokenizer.json that lies beside a GGUF file by chance would give ids that mean other tokens. */
function refuseOtherVocabulary(beside: Tokenizer, tokens: readonly string[], model: string): void {
  const parsed = vocabularySchema.safeParse(parseJson(beside.files.json));
  const vocab = Object.entries(parsed.success ? parsed.data.model.vocab : {});
  const other = vocab.find(([token, id]) => tokens[id] !== token);
  if (parsed.success && !other) return;
  throw new SluiceError("config", `the tokenizer.json beside ${model} is of another vocabulary`, {
    found: other ? `${other[0]} with id ${other[1]}` : "a vocabulary that is no table of ids",
    expected: other ? `${tokens[other[1]] ?? "no such id"}, as in the file` : "a BPE vocabulary",
    fix: "Put the original model's tokenizer.json there.",
  });
}

async function openFolder(folder: string): Promise<Tokenizer | null> {
  const json = await readIfThere(join(folder, "tokenizer.json"));
  if (json === null) return null;
  const config = (await readIfThere(join(folder, "tokenizer_config.json"))) ?? "{}";
  const jinja = await readIfThere(join(folder, "chat_template.jinja"));
  return parse({ json, config }, jinja, folder, await readIfThere(join(folder, "chat_template.json")));
}

/** @param template goes before the config's own, as in transformers. @param oldTemplate the form before both. */
function parse(
  files: TokenizerFiles,
  template: string | null,
  where: string,
  oldTemplate: string | null = null,
): Tokenizer {
  try {
    const old = oldTemplate === null ? null : templateFileSchema.parse(parseJson(oldTemplate)).chat_template;
    return new ModelTokenizer(files, template, old);
  } catch (cause) {
    throw new SluiceError("config", `the tokenizer at ${where} cannot be read`, {
      found: messageOf(cause),
      fix: "Download tokenizer.json and tokenizer_config.json again.",
      cause,
    });
  }
}

class ModelTokenizer implements Tokenizer {
  readonly sha256: string;
  readonly specialIds: readonly number[];
  readonly bosId: number | null;
  readonly eosIds: readonly number[];
  readonly chatTemplate: string | null;
  readonly namedTokens: Readonly<Record<string, string>>;
  readonly files: TokenizerFiles;
  readonly #inner: HuggingFaceTokenizer;
  readonly #added: ReadonlySet<number>;
  readonly #isByteLevel: boolean;
  readonly #form: NormalForm | null;

  constructor(files: TokenizerFiles, template: string | null, oldTemplate: string | null) {
    const raw = z.looseObject({}).parse(parseJson(files.json));
    const config = z.looseObject({}).parse(parseJson(files.config));
    const { added_tokens } = tokenizerSchema.parse(raw);
    const parsed = configSchema.parse(config);
    const { bos_token, eos_token, chat_template } = parsed;
    this.#inner = new HuggingFaceTokenizer(spellOut(raw), config);
    this.files = files;
    this.sha256 = createHash("sha256").update(files.json).update("\0").update(files.config).digest("hex");
    const named = Array.isArray(chat_template)
      ? chat_template.find(({ name }) => name === "default")?.template
      : chat_template;
    this.chatTemplate = template ?? named ?? oldTemplate;
    this.specialIds = added_tokens
      .filter((t) => t.special)
      .map((t) => t.id)
      .sort((a, b) => a - b);
    this.bosId = this.#idOf(bos_token);
    const eos = this.#idOf(eos_token);
    this.eosIds = eos === null ? [] : [eos];
    const names = TOKEN_NAMES.map((name) => [name, contentOf(tokenSchema.parse(parsed[name]))]);
    this.namedTokens = Object.fromEntries(names.filter(([, content]) => content !== undefined));
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

async function readIfThere(file: string): Promise<string | null> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    if (systemCode(error) === "ENOENT") return null;
    throw error;
  }
}
