// Renders the bundled ARC tasks as training text for tools/train_bundled_model.py, with the project's own prompt code:
// one JSON line {id, variant, prompt, solved} a task and variant.
// node tools/render-arc.mjs VARIANTS > prompts.jsonl     (after npm run build)

import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { parseArcTask, renderArcPrompt, renderArcSolved } from "../dist/data/arc.js";
import { arcTransform, transformTask } from "../dist/data/augment.js";

const variants = Number(process.argv[2] ?? 1);
const text = gunzipSync(readFileSync(new URL("../assets/arc/tasks.jsonl.gz", import.meta.url))).toString();
for (const [record, line] of text.trim().split("\n").entries()) {
  const value = JSON.parse(line);
  const task = parseArcTask(value);
  if ("reason" in task) throw new Error(`${value.id}: ${task.reason}`);
  for (let variant = 0; variant < variants; variant++) {
    const changed = transformTask(task, arcTransform(42, record, variant));
    const rendered = {
      id: value.id,
      variant,
      prompt: renderArcPrompt(changed),
      solved: renderArcSolved(changed),
    };
    process.stdout.write(`${JSON.stringify(rendered)}\n`);
  }
}
