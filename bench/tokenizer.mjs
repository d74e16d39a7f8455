// Text to token ids: our tokenizer beside a plain loop of the library, on ARC prompts and on prose (the project's own pages), with
// the bundled tokenizer or another. node bench/tokenizer.mjs [--tokenizer FOLDER] [--seconds 5] (after npm run build)

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { gunzipSync } from "node:zlib";
import { Tokenizer } from "@huggingface/tokenizers";
import { parseArcTask, renderArcPrompt } from "../dist/data/arc.js";
import { openTokenizer } from "../dist/data/tokenizer.js";
import { describeMachine } from "./machine.mjs";

const root = fileURLToPath(new URL("../", import.meta.url));
const { values } = parseArgs({
  options: {
    tokenizer: { type: "string", default: join(root, "assets/model") },
    seconds: { type: "string", default: "5" },
  },
});
const read = (name) => JSON.parse(readFileSync(join(values.tokenizer, name), "utf8"));
const ours = await openTokenizer(values.tokenizer);
const library = new Tokenizer(read("tokenizer.json"), read("tokenizer_config.json"));

const tasks = gunzipSync(readFileSync(join(root, "assets/arc/tasks.jsonl.gz")))
  .toString()
  .trim()
  .split("\n");
const pages = ["README.md", "LICENSE", ...readdirSync(join(root, "docs")).map((name) => join("docs", name))];
const prose = pages.flatMap((page) => readFileSync(join(root, page), "utf8").split(/\n\s*\n/));
const texts = {
  arc_prompts: tasks.map((line) => renderArcPrompt(parseArcTask(JSON.parse(line)))),
  prose: prose.filter((text) => text.length > 100),
};

/** Encodes the texts over and over for the time given. */
function measure(encode, samples) {
  for (const text of samples.slice(0, 50)) encode(text);
  const started = performance.now();
  let [bytes, tokens, seconds] = [0, 0, 0];
  for (let i = 0; seconds < Number(values.seconds); i++) {
    const text = samples[i % samples.length];
    tokens += encode(text).length;
    bytes += Buffer.byteLength(text);
    seconds = (performance.now() - started) / 1000;
  }
  return { mb_s: bytes / 1e6 / seconds, tokens_s: tokens / seconds };
}

const results = {};
for (const [name, samples] of Object.entries(texts)) {
  const own = measure((text) => ours.encode(text, "tokenizer"), samples);
  const plain = measure((text) => library.encode(text).ids, samples);
  results[name] = {
    samples: samples.length,
    sluice: own,
    library: plain,
    ratio: own.tokens_s / plain.tokens_s,
  };
}
const machine = describeMachine();
const { version } = JSON.parse(
  readFileSync(join(root, "node_modules/@huggingface/tokenizers/package.json"), "utf8"),
);
const versions = { ...machine.versions, "@huggingface/tokenizers": version };
console.log(
  JSON.stringify({ bench: "tokenizer", ...machine, versions, tokenizer: values.tokenizer, results }),
);
