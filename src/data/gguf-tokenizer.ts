// The tokenizer inside a GGUF file, in the form of tokenizer.json and tokenizer_config.json: the vocabulary is the file's,
// and what the file says only by name (how text is cut before merging) is what the model's published tokenizer.json has.
// Names: ggml-org/llama.cpp, src/llama-vocab.cpp.

import { SluiceError } from "../base/errors.js";
import { type GgufHeader, type GgufValue, readGgufHeader } from "../base/gguf-header.js";

/** Both files, as text. */
export interface TokenizerFiles {
  readonly json: string;
  readonly config: string;
}

/** llama_token_type. */
const TYPES = { control: 3, userDefined: 4 } as const;

const NFC = { type: "NFC" };
const BYTE_LEVEL = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true };
const DIGITS = { type: "Digits", individual_digits: true };
const LLAMA3 =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const QWEN2 = LLAMA3.replace("\\p{N}{1,3}", "\\p{N}");

/** One way of cutting text before merging (`tokenizer.ggml.pre`). */
interface PreKind {
  readonly pre: object;
  readonly normalizer?: object;
  /** Whole words of the vocabulary are taken without merging. */
  readonly ignoreMerges?: boolean;
  /** Where the file does not say. */
  readonly addBos?: boolean;
}

const GPT2_KIND: PreKind = { pre: { ...BYTE_LEVEL, use_regex: true } };
const LLAMA3_KIND: PreKind = { pre: splitBy(LLAMA3), ignoreMerges: true, addBos: true };
const PRE_KINDS: Readonly<Record<string, PreKind>> = {
  "gpt-2": GPT2_KIND,
  "phi-2": GPT2_KIND,
  smollm: { pre: inTurn(DIGITS, { ...BYTE_LEVEL, use_regex: true }) },
  qwen2: { pre: splitBy(QWEN2), normalizer: NFC },
  "llama-bpe": LLAMA3_KIND,
  llama3: LLAMA3_KIND,
  "llama-v3": LLAMA3_KIND,
};

/**
 * Reads the tokenizer of a GGUF file; null where the file has none.
 * @throws SluiceError `config` naming a kind that is not known, or what is malformed.
 */
export async function readGgufTokenizer(file: string): Promise<TokenizerFiles | null> {
  const fields = new Fields(await readGgufHeader(file), file);
  const kind = fields.text("model");
  if (kind === undefined || kind === "none" || kind === "no_vocab") return null;
  switch (kind) {
    case "gpt2":
      return describeByteLevel(fields);
    case "llama":
      return describeSentencePiece(fields);
    default:
      throw fields.refuse("model", kind, "gpt2 or llama");
  }
}

/** The vocabulary of a GGUF file, in order of id. @throws SluiceError `config` where it has none. */
export async function readGgufTokens(file: string): Promise<string[]> {
  return new Fields(await readGgufHeader(file), file).texts("tokens");
}

/** BPE over bytes (GPT-2, Llama 3, Qwen, SmolLM). */
function describeByteLevel(fields: Fields): TokenizerFiles {
  const name = fields.text("pre");
  const kind = PRE_KINDS[name ?? ""];
  if (!kind) {
    const known = Object.keys(PRE_KINDS).join(", ");
    throw fields.refuse(
      "pre",
      name,
      known,
      "Put the original model's tokenizer.json beside the file: it is taken instead.",
    );
  }
  const tokens = fields.texts("tokens");
  return assemble(fields, tokens, kind.addBos ?? false, {
    normalizer: kind.normalizer ?? null,
    pre_tokenizer: kind.pre,
    decoder: { ...BYTE_LEVEL, use_regex: true },
    model: bpe(tokens, fields.texts("merges"), { ignore_merges: kind.ignoreMerges ?? false }),
  });
}

/** BPE over characters with bytes to fall back on, spaces written as ▁ (Llama 2, Mistral, TinyLlama). */
function describeSentencePiece(fields: Fields): TokenizerFiles {
  if (fields.flag("remove_extra_whitespaces") === true)
    throw fields.refuse("remove_extra_whitespaces", true, "false");
  if (fields.has("precompiled_charsmap")) throw fields.refuse("precompiled_charsmap", "a table", "none");
  const tokens = fields.texts("tokens");
  const merges = fields.has("merges") ? fields.texts("merges") : mergesOf(tokens, fields.numbers("scores"));
  const hasPrefix = fields.flag("add_space_prefix") ?? true;
  const spaces = { type: "Replace", pattern: { String: " " }, content: "▁" };
  const decoders = [
    { type: "Replace", pattern: { String: "▁" }, content: " " },
    { type: "ByteFallback" },
    { type: "Fuse" },
    ...(hasPrefix ? [{ type: "Strip", content: " ", start: 1, stop: 0 }] : []),
  ];
  const unknown = fields.token("unknown");
  return assemble(fields, tokens, true, {
    normalizer: hasPrefix
      ? { type: "Sequence", normalizers: [{ type: "Prepend", prepend: "▁" }, spaces] }
      : spaces,
    pre_tokenizer: null,
    decoder: { type: "Sequence", decoders },
    model: bpe(tokens, merges, { unk_token: unknown?.content ?? null, fuse_unk: true, byte_fallback: true }),
  });
}

/**
 * The merges that a SentencePiece vocabulary implies: every way to put a token together from two others, best score first
 * (transformers, tokenization_utils_base.py, generate_merges).
 */
function mergesOf(tokens: readonly string[], scores: readonly number[]): [string, string][] {
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const found: { left: string; right: string; score: number; lengths: [number, number] }[] = [];
  for (const [id, token] of tokens.entries()) {
    const letters = [...token];
    const ways = [];
    for (let cut = 1; cut < letters.length; cut++) {
      const [left, right] = [letters.slice(0, cut).join(""), letters.slice(cut).join("")];
      const [a, b] = [ids.get(left), ids.get(right)];
      if (a !== undefined && b !== undefined) ways.push({ left, right, a, b, cut });
    }
    ways.sort((x, y) => x.a - y.a || x.b - y.b);
    for (const { left, right, cut } of ways)
      found.push({ left, right, score: scores[id] ?? 0, lengths: [cut, letters.length - cut] });
  }
  found.sort((x, y) => y.score - x.score || y.lengths[0] - x.lengths[0] || y.lengths[1] - x.lengths[1]);
  return found.map(({ left, right }) => [left, right]);
}

function bpe(
  tokens: readonly string[],
  merges: readonly (string | [string, string])[],
  more: object,
): object {
  const nothing = {
    dropout: null,
    unk_token: null,
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
  };
  const flags = { fuse_unk: false, byte_fallback: false, ignore_merges: false };
  const vocab = Object.fromEntries([...tokens.entries()].reverse().map(([id, token]) => [token, id]));
  return { type: "BPE", ...nothing, ...flags, ...more, vocab, merges };
}

/** Adds what all kinds have: tokens that are never cut, BOS and EOS, and the configuration. */
function assemble(fields: Fields, tokens: readonly string[], addBos: boolean, parts: object): TokenizerFiles {
  const [bos, eos] = [fields.token("bos"), fields.token("eos")];
  const named = [bos, eos, fields.token("unknown"), fields.token("padding")].filter((t) => t !== undefined);
  const special = new Set(named.map((t) => t.id));
  const types = fields.has("token_type") ? fields.numbers("token_type") : [];
  const added = tokens.flatMap((content, id) => {
    const isSpecial = special.has(id) || types[id] === TYPES.control;
    if (!isSpecial && types[id] !== TYPES.userDefined) return [];
    return [
      {
        id,
        content,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: isSpecial,
      },
    ];
  });
  const before = (fields.flag("add_bos_token") ?? addBos) && bos ? [bos] : [];
  const after = fields.flag("add_eos_token") === true && eos ? [eos] : [];
  const json = {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: added,
    ...parts,
    post_processor: before.length + after.length === 0 ? null : template(before, after),
  };
  const config = {
    bos_token: bos?.content ?? null,
    eos_token: eos?.content ?? null,
    chat_template: fields.chatTemplate ?? null,
    clean_up_tokenization_spaces: false,
  };
  return { json: JSON.stringify(json), config: JSON.stringify(config) };
}

interface Token {
  readonly id: number;
  readonly content: string;
}

function template(before: readonly Token[], after: readonly Token[]): object {
  const place = ({ content }: Token) => ({ SpecialToken: { id: content, type_id: 0 } });
  const around = (...texts: object[]) => [...before.map(place), ...texts, ...after.map(place)];
  const [a, b] = [{ Sequence: { id: "A", type_id: 0 } }, { Sequence: { id: "B", type_id: 1 } }];
  const used = [...before, ...after].map(({ id, content }) => [
    content,
    { id: content, ids: [id], tokens: [content] },
  ]);
  return {
    type: "TemplateProcessing",
    single: around(a),
    pair: around(a, b),
    special_tokens: Object.fromEntries(used),
  };
}

function splitBy(regex: string): object {
  const split = { type: "Split", pattern: { Regex: regex }, behavior: "Isolated", invert: false };
  return inTurn(split, { ...BYTE_LEVEL, use_regex: false });
}

function inTurn(...pretokenizers: readonly object[]): object {
  return { type: "Sequence", pretokenizers };
}

/** The fields under `tokenizer.ggml.`, checked. */
class Fields {
  readonly #metadata: GgufHeader["metadata"];
  readonly #where: string;

  constructor(header: GgufHeader, where: string) {
    this.#metadata = header.metadata;
    this.#where = where;
  }

  get chatTemplate(): string | undefined {
    const value = this.#metadata.get("tokenizer.chat_template");
    return typeof value === "string" ? value : undefined;
  }

  has(field: string): boolean {
    return this.#get(field) !== undefined;
  }

  text(field: string): string | undefined {
    const value = this.#get(field);
    if (value === undefined || typeof value === "string") return value;
    throw this.refuse(field, value, "a text");
  }

  flag(field: string): boolean | undefined {
    const value = this.#get(field);
    if (value === undefined || typeof value === "boolean") return value;
    throw this.refuse(field, value, "true or false");
  }

  texts(field: string): string[] {
    const value = this.#get(field);
    if (Array.isArray(value) && value.every((item) => typeof item === "string")) return value;
    throw this.refuse(field, value, "a list of texts");
  }

  numbers(field: string): number[] {
    const value = this.#get(field);
    if (Array.isArray(value) && value.every((item) => typeof item === "number")) return value;
    throw this.refuse(field, value, "a list of numbers");
  }

  /** The token that a field such as `bos_token_id` names. */
  token(name: string): Token | undefined {
    const id = this.#get(`${name}_token_id`);
    if (id === undefined) return undefined;
    const content = typeof id === "number" ? this.texts("tokens")[id] : undefined;
    if (typeof id !== "number" || content === undefined)
      throw this.refuse(`${name}_token_id`, id, "the id of a token");
    return { id, content };
  }

  refuse(field: string, found: GgufValue | undefined, expected: string, fix?: string): SluiceError {
    const what = found === undefined ? "is missing" : "has a value that is not supported";
    return new SluiceError(
      "config",
      `${this.#where}: the tokenizer's field tokenizer.ggml.${field} ${what}`,
      {
        found: Array.isArray(found) ? "a list" : typeof found === "bigint" ? String(found) : found,
        expected,
        fix,
      },
    );
  }

  #get(field: string): GgufValue | undefined {
    return this.#metadata.get(`tokenizer.ggml.${field}`);
  }
}
