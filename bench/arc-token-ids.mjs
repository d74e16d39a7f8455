// The bundled ARC tasks as lines of token ids: real lengths for models of any vocabulary of at least 512.

import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { parseArcTask, renderArcPrompt } from "../dist/data/arc.js";
import { openTokenizer } from "../dist/data/tokenizer.js";

/** Token ids of `count` prompts evenly spaced in the tasks, cut at `maxLength`. */
export async function arcTokenIds(count, maxLength) {
  const assets = new URL("../assets/", import.meta.url);
  const tokenizer = await openTokenizer(new URL("model", assets).pathname);
  const lines = gunzipSync(readFileSync(new URL("arc/tasks.jsonl.gz", assets)))
    .toString()
    .trim()
    .split("\n");
  const chosen = Array.from(
    { length: Math.min(count, lines.length) },
    (_, i) => lines[Math.floor((i * lines.length) / count)],
  );
  return chosen.map((line) =>
    tokenizer.encode(renderArcPrompt(parseArcTask(JSON.parse(line))), "never").slice(0, maxLength),
  );
}
