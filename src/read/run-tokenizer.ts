// The tokenizer that a run keeps with it (`model/`), so that its token ids can be read as text in ten years.

import { Tokenizer } from "@huggingface/tokenizers";
import { z } from "zod";
import { parseJsonBytes } from "../base/parse-json.js";
import type { Store } from "../store/store.js";

/** Vocabularies of 256,000 tokens take 35 MB. */
const MAX_TOKENIZER_BYTES = 256_000_000;

/** Turns ids into text. */
export interface Decoder {
  decode(ids: readonly number[]): string;
}

/** The run's own tokenizer; null where it was made without one, or it cannot be read. */
export async function openTokenizerFromRun(store: Store): Promise<Decoder | null> {
  try {
    const [json, config] = await Promise.all(
      ["tokenizer.json", "tokenizer_config.json"].map(async (name) =>
        z.looseObject({}).parse(parseJsonBytes(await readBounded(store, `model/${name}`))),
      ),
    );
    const tokenizer = new Tokenizer(json ?? {}, config ?? {});
    return {
      decode: (ids) => (ids.length === 0 ? "" : tokenizer.decode([...ids], { skip_special_tokens: false })),
    };
  } catch {
    return null;
  }
}

async function readBounded(store: Store, name: string): Promise<Uint8Array> {
  const { size = 0 } = (await store.head(name)) ?? {};
  if (size > MAX_TOKENIZER_BYTES) throw new Error(`${name} is too large`);
  return store.read(name);
}
