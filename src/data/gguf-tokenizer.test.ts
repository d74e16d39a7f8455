// Tokenizers inside GGUF files against Python's `tokenizers` with the same vocabulary in the published form
// (tools/make_gguf_tokenizer_fixtures.py).

import { createHash } from "node:crypto";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { openTokenizer } from "./tokenizer.js";

const FIXTURES = fileURLToPath(new URL("../../test/fixtures/", import.meta.url));
const FOLDER = join(FIXTURES, "gguf/tokenizers");

function readJson(file: string): unknown {
  return JSON.parse(gunzipSync(readFileSync(file)).toString());
}
const texts = z
  .object({ cases: z.array(z.tuple([z.string()]).rest(z.unknown())) })
  .parse(readJson(join(FIXTURES, "tokenizers/gpt2/golden.json.gz")))
  .cases.map(([text]) => text);

describe.each(["gpt-2", "smollm", "qwen2", "llama-bpe", "llama-spm"])("%s", (name) => {
  it("gives Python's ids for 2,100 strings, with and without special tokens", async () => {
    const tokenizer = await openTokenizer(join(FOLDER, `${name}.gguf`));
    const { cases } = z
      .object({ cases: z.array(z.tuple([z.string(), z.string()])) })
      .parse(readJson(join(FOLDER, `${name}.json.gz`)));
    expect(cases.length).toBe(texts.length);
    const short = (ids: readonly number[] | undefined) =>
      createHash("sha256").update(JSON.stringify(ids)).digest("hex").slice(0, 12);
    for (const [i, [withSpecial, without]] of cases.entries()) {
      const text = texts[i] ?? "";
      expect(short(tokenizer?.encode(text, "tokenizer")), text.slice(0, 80)).toBe(withSpecial);
      if (without === withSpecial) continue;
      expect(short(tokenizer?.encode(text, "never")), text.slice(0, 80)).toBe(without);
    }
  });
});

it("knows BOS, EOS, special tokens and the chat template", async () => {
  const [spm, bpe] = await Promise.all(
    ["llama-spm", "qwen2"].map((name) => openTokenizer(join(FOLDER, `${name}.gguf`))),
  );
  expect(spm).toMatchObject({ bosId: 1, eosIds: [2], specialIds: [0, 1, 2], chatTemplate: null });
  expect(bpe).toMatchObject({ bosId: null, eosIds: [0], specialIds: [0, 1] });
  expect(bpe?.chatTemplate).toContain("{% for m in messages %}");
  expect(spm?.decode(spm.encode(" Licence  of 東京", "never"))).toBe(" Licence  of 東京");
});

describe("a kind that is not known", () => {
  const withPre = (folder: string, pre: string) => {
    const bytes = readFileSync(join(FOLDER, "qwen2.gguf"));
    bytes.write(pre, bytes.indexOf("qwen2", bytes.indexOf("tokenizer.ggml.pre")), "latin1");
    const file = join(folder, "m.gguf");
    writeFileSync(file, bytes);
    return file;
  };

  it("is refused by name; a tokenizer.json beside the file, of the same vocabulary, is taken instead", async () => {
    const folder = mkdtempSync(join(tmpdir(), "sluice-pre-"));
    try {
      const file = withPre(folder, "qwen9");
      await expect(openTokenizer(file)).rejects.toThrow(
        /tokenizer.ggml.pre has a value that is not supported; found qwen9; expected gpt-2, .*Put the original/,
      );
      copyFileSync(join(FIXTURES, "tokenizers/gpt2/tokenizer.json"), join(folder, "tokenizer.json"));
      await expect(openTokenizer(file)).rejects.toThrow(/tokenizer.json beside .* is of another vocabulary/);
      copyFileSync(join(FIXTURES, "tokenizers/qwen2/tokenizer.json"), join(folder, "tokenizer.json"));
      const theirs = await openTokenizer(join(FIXTURES, "tokenizers/qwen2"));
      expect((await openTokenizer(file))?.encode("It's 12 o'clock", "never")).toEqual(
        theirs?.encode("It's 12 o'clock", "never"),
      );
      // A file whose own tokenizer is known needs none beside it.
      copyFileSync(join(FIXTURES, "tokenizers/gpt2/tokenizer.json"), join(folder, "tokenizer.json"));
      copyFileSync(join(FOLDER, "qwen2.gguf"), file);
      expect((await openTokenizer(file))?.sha256).toBe(
        (await openTokenizer(join(FOLDER, "qwen2.gguf")))?.sha256,
      );
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
