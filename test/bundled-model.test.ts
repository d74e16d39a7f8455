// The bundled model means something: on six of its held-out prompts here, on all of them in test/long/bundled-model.test.ts.

import { expect, it } from "vitest";
import { heldOutLoss, readFacts } from "./held-out-loss.js";

it("has half the unigram entropy's loss on held-out prompts, and what its card says", async () => {
  const facts = readFacts();
  const { loss, count } = await heldOutLoss(facts.tested.ids);
  expect(count).toBeGreaterThan(1000);
  expect(loss).toBeLessThan(facts.unigram_entropy / 2);
  expect(Math.abs(loss / facts.tested.loss - 1)).toBeLessThan(0.01);
});
