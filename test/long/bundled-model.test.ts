// The bundled model's loss on all prompts that were held out: the number that its card prints.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { heldOutLoss, readFacts } from "../held-out-loss.js";
import { BUNDLED_MODEL } from "../helpers.js";

it("has the held-out loss of its card, at most half of the unigram entropy", async () => {
  const facts = readFacts();
  expect(facts.held_out.length).toBeGreaterThan(50);
  const { loss, count } = await heldOutLoss(facts.held_out);
  console.log(`${loss.toFixed(4)} nats a token over ${count} tokens`);
  expect(Math.abs(loss / facts.loss - 1)).toBeLessThan(0.002);
  expect(loss).toBeLessThanOrEqual(facts.unigram_entropy / 2);
  const card = readFileSync(join(BUNDLED_MODEL, "README.md"), "utf8");
  expect(card).toContain(`**${loss.toFixed(3)}**`);
  expect(card).toContain(`| ${facts.unigram_entropy.toFixed(3)} |`);
});
