import { expect, it } from "vitest";
import { ThreadedUnitReader } from "./unit-reader.js";

it("answers nobody with silence once its thread is gone", async () => {
  const rules = { prompt: "text" } as never; // Never read: the thread opens a tokenizer with the first unit only.
  const reader = new ThreadedUnitReader({
    streams: [],
    tables: [],
    samplesPerShard: 1,
    model: "",
    rules,
    maxSkipped: "all",
  });
  await reader.close();
  await expect(reader.read({ stream: 0, index: 0 })).rejects.toThrow("the reading thread ended");
});
