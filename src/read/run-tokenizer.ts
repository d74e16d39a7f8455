// The tokenizer that a run keeps with it (`model/`), so that its token ids can be read as text in ten years.

import { Tokenizer } from "@huggingface/tokenizers";
import type { Store } from "../store/store.js";

/** Turns ids into text. */
export interface Decoder {
  decode(ids: readonly number[]): string;
}

/** The run's own tokenizer; null where it was made without one, or it cannot be read. */
export async function openTokenizerFromRun(store: Store): Promise<Decoder | null> {
  try {
    const [json, config] = await Promise.all(
      ["tokenizer.json", "tokenizer_config.json"].map(
        async (name) => JSON.parse(Buffer.from(await store.read(`model/${name}`)).toString("utf8")) as object,
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
