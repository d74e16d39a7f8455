import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { USUAL_RULES } from "../../test/record-rules.js";
import { openDataset } from "./dataset.js";
import type { RecordRules } from "./records.js";
import { scanStream } from "./scan.js";
import { ThreadedUnitReader } from "./unit-reader.js";

const MODEL = fileURLToPath(new URL("../../assets/model/", import.meta.url));

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

it("ends a thread whose tokenizer has no end, and says what it was reading", async () => {
  const folder = await mkdtemp(join(tmpdir(), "sluice-endless-"));
  try {
    const model = join(folder, "model");
    await cp(MODEL, model, { recursive: true });
    const tokenizer = JSON.parse(await readFile(join(model, "tokenizer.json"), "utf8"));
    const pattern = { Regex: "(a+)+b" };
    tokenizer.pre_tokenizer = { type: "Split", pattern, behavior: "Isolated", invert: false };
    await writeFile(join(model, "tokenizer.json"), JSON.stringify(tokenizer));
    const path = join(folder, "d.jsonl");
    await writeFile(path, `{"text":"short"}\n{"text":"${"a".repeat(60)}"}\n`);
    const { streams } = await openDataset(path, null);
    const tables = [];
    for (const stream of streams)
      tables.push(await scanStream({ stream, samplesPerShard: 1, maxRecords: 9 }));
    const rules: RecordRules = { ...USUAL_RULES, bos: "never", maxParts: 1, seed: 0, vocabulary: 1 << 20 };
    const reader = new ThreadedUnitReader(
      { streams, tables, samplesPerShard: 1, model, rules, maxSkipped: "all" },
      3000,
    );
    expect((await reader.read({ stream: 0, index: 0 })).count).toBe(1);
    await expect(reader.read({ stream: 0, index: 1 })).rejects.toMatchObject({
      kind: "config",
      message: expect.stringMatching(/reading unit 1 of stream 0 \(.*d\.jsonl\) has taken 3 s of computing/),
    });
    await expect(reader.read({ stream: 0, index: 0 })).rejects.toThrow("without an end");
    await reader.close();
  } finally {
    await rm(folder, { recursive: true });
  }
});
