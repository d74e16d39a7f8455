// Token ids against those of Python's `tokenizers` (tools/make_tokenizer_fixtures.py).

import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { parseArcTask, renderArcPrompt } from "./arc.js";
import { openTokenizer, type Tokenizer } from "./tokenizer.js";

const FIXTURES = fileURLToPath(new URL("../../test/fixtures/tokenizers/", import.meta.url));
const ASSETS = fileURLToPath(new URL("../../assets/", import.meta.url));
const idsSchema = z.union([z.array(z.number()), z.string()]);
const goldenSchema = z.object({ cases: z.array(z.tuple([z.string(), idsSchema, idsSchema])) });

async function open(folder: string): Promise<Tokenizer> {
  const tokenizer = await openTokenizer(folder);
  if (!tokenizer) throw new Error(`no tokenizer at ${folder}`);
  return tokenizer;
}

describe.each(readdirSync(FIXTURES))("%s", (name) => {
  it("gives Python's ids for 2,100 strings, with and without special tokens", async () => {
    const tokenizer = await open(join(FIXTURES, name));
    const { cases } = goldenSchema.parse(
      JSON.parse(gunzipSync(readFileSync(join(FIXTURES, name, "golden.json.gz"))).toString()),
    );
    expect(cases.length).toBeGreaterThanOrEqual(2000);
    const shown = (ids: readonly number[], as: readonly number[] | string) =>
      typeof as === "string"
        ? createHash("sha256")
            .update(`[${ids.join(", ")}]`)
            .digest("hex")
        : ids;
    for (const [text, withSpecial, without] of cases) {
      expect(shown(tokenizer.encode(text, "tokenizer"), withSpecial), text.slice(0, 80)).toEqual(withSpecial);
      expect(shown(tokenizer.encode(text, "never"), without), text.slice(0, 80)).toEqual(without);
    }
  });
});

it("gives Python's ids for all 800 ARC prompts with the bundled tokenizer", async () => {
  const tokenizer = await open(join(ASSETS, "model"));
  const golden = z
    .object({ golden_sha256: z.string() })
    .parse(JSON.parse(readFileSync(join(ASSETS, "model/heldout.json"), "utf8")));
  const hash = createHash("sha256");
  for (const line of gunzipSync(readFileSync(join(ASSETS, "arc/tasks.jsonl.gz")))
    .toString()
    .trim()
    .split("\n")) {
    const task = parseArcTask(JSON.parse(line));
    if ("reason" in task) throw new Error(task.reason);
    hash.update(Int32Array.from(tokenizer.encode(renderArcPrompt(task), "tokenizer")));
  }
  expect(hash.digest("hex")).toBe(golden.golden_sha256);
});

it("does not grow quadratically with the text", async () => {
  const tokenizer = await open(join(ASSETS, "model"));
  const milliseconds = (lines: number) => {
    const started = performance.now();
    expect(tokenizer.encode("1: 0 0 7 7\n".repeat(lines), "never").length).toBeGreaterThan(10_000);
    return performance.now() - started;
  };
  // Other processes only ever add to a time: the least of some, the short and the long by turns, is the tokenizer's.
  milliseconds(10_000); // What is compiled while it runs.
  const short: number[] = [];
  const long: number[] = [];
  do {
    short.push(milliseconds(10_000));
    long.push(milliseconds(80_000));
  } while (long.length < 5 && Math.min(...long) >= 40 * Math.min(...short));
  expect(Math.min(...long) / Math.min(...short)).toBeLessThan(40);
});
