// Files and runs of strangers: each parser gets valid input that was damaged at random (bits flipped, cut, extended, spliced, numbers
// overwritten by ones at the edge), from a seed. It gives a result, or refuses in words (a SluiceError of kind data, config or usage),
// within bounded time and memory: never a crash, never a hang.

import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cp, mkdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { isSluiceError } from "../src/base/errors.js";
import { parseGgufHeader } from "../src/base/gguf-header.js";
import { randomBelow, randomNumbers } from "../src/base/random.js";
import { headerLength, parseSafetensorsHeader } from "../src/base/safetensors-header.js";
import { openChatTemplate } from "../src/data/chat-template.js";
import { openDataset } from "../src/data/dataset.js";
import { readEveryRecord } from "../src/data/every-record.js";
import { openRecordStream } from "../src/data/record-stream.js";
import { sampleRecords, scanStream } from "../src/data/scan.js";
import { openTokenizer } from "../src/data/tokenizer.js";
import { decodeUnitTable } from "../src/data/unit-table.js";
import { parseAdapterConfig } from "../src/model/adapter-config.js";
import { hookPoints } from "../src/model/hooks.js";
import { buildGraph, openModel } from "../src/model/model.js";
import { exportRun } from "../src/read/export.js";
import { collectGarbage } from "../src/read/gc.js";
import { inspectCommits } from "../src/read/inspect.js";
import { openRunForReading } from "../src/read/open-run.js";
import { readStatus } from "../src/read/status.js";
import { verifyRun } from "../src/read/verify.js";
import { decodeCommit } from "../src/run/commit.js";
import { decodeRunFile, encodeRunFile, type RunFile } from "../src/run/identity.js";
import { MemoryStore } from "../src/store/memory.js";
import { closeWorkshop, openWorkshop, type Workshop, work } from "./in-process.js";

const FIXTURES = fileURLToPath(new URL("./fixtures/", import.meta.url));
/** What one case may take, on a machine that does other things besides. */
const CASE_MS = 10_000;
/** Numbers at which arithmetic goes wrong. */
const EDGES = [
  0n,
  1n,
  7n,
  255n,
  2n ** 31n - 1n,
  2n ** 31n,
  2n ** 32n - 1n,
  2n ** 53n,
  2n ** 63n - 1n,
  2n ** 63n,
  2n ** 64n - 1n,
];
const EDGE_TEXTS = [
  "0",
  "-1",
  "1e308",
  "9007199254740993",
  "null",
  "[]",
  "{}",
  '"__proto__"',
  '"\\u001b[2J"',
  "[[[[",
  "1.5",
  '"../../x"',
];

/** The same inputs each time, so that what passes here passes everywhere; SLUICE_SEED tries others. */
const SEED = Number(process.env.SLUICE_SEED ?? 1);

/** Damages bytes, in one to four ways; the same seed gives the same bytes. */
export function damage(valid: Uint8Array, seed: number): Buffer {
  const random = randomNumbers(`fuzz/${seed}`);
  const below = (bound: number) => (bound <= 0 ? 0 : randomBelow(bound, random));
  let bytes: Buffer = Buffer.from(valid);
  // Damaged JSON is refused as such: half of it stays JSON, with other values.
  const onlyValues = valid[0] === 0x7b && seed % 2 === 1;
  for (let n = 1 + below(4); n > 0; n--) {
    const at = below(bytes.length);
    switch (onlyValues ? -1 : below(7)) {
      case 0:
        if (bytes.length > 0) bytes[at] = (bytes[at] ?? 0) ^ (1 << below(8));
        break;
      case 1:
        bytes = bytes.subarray(0, at);
        break;
      case 2:
        bytes = Buffer.concat([bytes, Buffer.alloc(1 + below(64), below(256))]);
        break;
      case 3: {
        const from = below(bytes.length);
        bytes = Buffer.concat([
          bytes.subarray(0, at),
          bytes.subarray(from, from + below(200)),
          bytes.subarray(at),
        ]);
        break;
      }
      case 4: {
        const edge = EDGES[below(EDGES.length)] ?? 0n;
        if (bytes.length >= 8) bytes.writeBigUInt64LE(edge, Math.min(at, bytes.length - 8));
        break;
      }
      case 5: {
        const edge = Number((EDGES[below(EDGES.length)] ?? 0n) % 2n ** 32n);
        if (bytes.length >= 4) bytes.writeUInt32LE(edge, Math.min(at, bytes.length - 4));
        break;
      }
      default: {
        // Of text a number or another value is replaced.
        const text = bytes.toString("latin1");
        const values = [...text.slice(0, 200_000).matchAll(/-?\d+(\.\d+)?|"[^"\\]*"|true|false|null/g)];
        const value = values[below(values.length)];
        if (!value) break;
        const edge = EDGE_TEXTS[below(EDGE_TEXTS.length)] ?? "";
        bytes = Buffer.from(
          text.slice(0, value.index) + edge + text.slice(value.index + value[0].length),
          "latin1",
        );
      }
    }
  }
  return bytes;
}

/** Runs what may refuse. @throws whatever is no refusal in words. */
async function orRefuse(run: () => unknown): Promise<void> {
  const before = process.cpuUsage(); // Of this process alone: others take their time, too.
  try {
    await run();
  } catch (error) {
    if (!isSluiceError(error, "data") && !isSluiceError(error, "config") && !isSluiceError(error, "usage"))
      throw error;
  }
  const { user, system } = process.cpuUsage(before);
  expect((user + system) / 1000, "took too long").toBeLessThan(CASE_MS);
}

/** Damages one of the inputs, again and again. */
async function fuzz(
  runs: number,
  valid: readonly Uint8Array[],
  parse: (bytes: Buffer) => unknown,
): Promise<void> {
  for (const bytes of valid) await parse(Buffer.from(bytes));
  const before = process.memoryUsage().rss;
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0 }), fc.nat(valid.length - 1), async (seed, which) => {
      const bytes = damage(valid[which] ?? new Uint8Array(), seed);
      await orRefuse(() => parse(bytes));
    }),
    { numRuns: runs, seed: SEED },
  );
  expect(process.memoryUsage().rss - before, "memory").toBeLessThan(1.5e9);
}

const files = (folder: string, pattern: RegExp) =>
  readdirSync(join(FIXTURES, folder))
    .filter((name) => pattern.test(name))
    .map((name) => readFileSync(join(FIXTURES, folder, name)));

/** @param runs damaged inputs of each parser that costs nothing; those that read files get a fraction. */
export function describeFuzz(runs: number): void {
  const few = Math.ceil(runs / 8);
  let folder: string;
  let workshop: Workshop;
  let run: MemoryStore;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "sluice-fuzz-"));
    workshop = await openWorkshop(join(folder, "workshop"));
    run = new MemoryStore();
    await work(workshop, { store: run, spool: join(folder, "spool"), uuid: "maker" });
  });
  afterAll(async () => {
    await closeWorkshop(workshop);
    rmSync(folder, { recursive: true });
  });

  describe("damaged headers", () => {
    it("safetensors", async () => {
      for (const name of ["gpt2", "smollm2-tied"]) {
        const file = readFileSync(join(FIXTURES, "models", name, "model.safetensors"));
        const size = file.length;
        await fuzz(Math.ceil(runs / 2), [file.subarray(0, 8 + Number(file.readBigUInt64LE(0)))], (bytes) => {
          const length = headerLength(bytes.subarray(0, 8), size, "x");
          const header = parseSafetensorsHeader(bytes.subarray(8, 8 + length), size, "x");
          for (const { start, end } of header.tensors) expect(start <= end && end <= size).toBe(true);
        });
      }
    });

    it("GGUF", () =>
      fuzz(
        runs,
        files("gguf", /^(llama|smollm2).*\.gguf$/).map((bytes) => bytes.subarray(0, 40_000)),
        (bytes) => parseGgufHeader(bytes, 10_000_000, "x"),
      ));

    it("tables of units", async () => {
      const valid = [await run.read("units/tpu_0.bin"), await run.read("units/tpu_1.bin")];
      await fuzz(runs, valid, (bytes) => decodeUnitTable(bytes, "x"));
    });

    it("commits and run.json", async () => {
      const commits = [await run.read("tpu_0/shard_0001.json"), await run.read("tpu_1/shard_0001.json")];
      await fuzz(runs, commits, (bytes) => decodeCommit("x", bytes));
      await fuzz(runs, [await run.read("run.json")], (bytes) => decodeRunFile(bytes, "x"));
    });

    it("configs of adapters", () =>
      fuzz(
        runs,
        readdirSync(join(FIXTURES, "adapters")).map((name) =>
          readFileSync(join(FIXTURES, "adapters", name, "adapter_config.json")),
        ),
        (bytes) => parseAdapterConfig(bytes.toString("utf8"), "x"),
      ));
  });

  describe("damaged models", () => {
    it.each(["smollm2-tied", "gpt2", "gemma3"])("%s", async (name) => {
      const source = join(FIXTURES, "models", name);
      const at = join(folder, name);
      await cp(source, at, { recursive: true });
      const look = async () => {
        const checkpoint = await openModel(at);
        const taps = hookPoints(checkpoint.shape.build).map((point) => point.name);
        buildGraph(checkpoint, { taps, selection: "rows", tapDType: "float32" });
      };
      for (const file of ["config.json", "model.safetensors"]) {
        const valid = readFileSync(join(source, file));
        await fuzz(few, [valid], async (bytes) => {
          writeFileSync(join(at, file), bytes);
          await look();
        });
        writeFileSync(join(at, file), valid);
      }
    });

    it("GGUF files and their tokenizers", async () => {
      const at = join(folder, "x.gguf");
      await fuzz(few, files("gguf", /^(qwen3|llama).*\.gguf$/), async (bytes) => {
        writeFileSync(at, bytes);
        const checkpoint = await openModel(at);
        const taps = hookPoints(checkpoint.shape.build).map((point) => point.name);
        buildGraph(checkpoint, { taps, selection: "rows", tapDType: "float32" });
        await openTokenizer(at);
      });
    });

    it("tokenizers", async () => {
      const at = join(folder, "tokenizer");
      await mkdir(at, { recursive: true });
      const source = fileURLToPath(new URL("../assets/model/", import.meta.url));
      const names = ["tokenizer.json", "tokenizer_config.json"];
      const valid = names.map((name) => readFileSync(join(source, name)));
      for (const [i, name] of names.entries()) {
        await fuzz(few, [valid[i] ?? Buffer.alloc(0)], async (bytes) => {
          for (const [j, other] of names.entries()) await writeFile(join(at, other), valid[j] ?? "");
          await writeFile(join(at, name), bytes);
          const tokenizer = await openTokenizer(at);
          tokenizer?.decode(tokenizer.encode("Some words, 123 numbers: ü 漢字\n\n  and blanks", "tokenizer"));
        });
      }
    });

    it("chat templates", async () => {
      const template = Buffer.from(
        "{% for message in messages %}{% if message['role'] == 'system' and loop.first %}<s>{% endif %}[{{ message['role'] | trim }}] {{ message['content'] }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}",
      );
      const messages = [
        { role: "system", content: "be" },
        { role: "user", content: "hello" },
      ];
      await fuzz(runs, [template], (bytes) =>
        openChatTemplate({ chatTemplate: bytes.toString("utf8"), namedTokens: { eos_token: "</s>" } }).render(
          { messages },
        ),
      );
    });
  });

  describe("damaged datasets", () => {
    const rows = Array.from({ length: 40 }, (_, i) => ({
      id: i,
      text: `text ${i} "quoted", and\nmore`,
      token_ids: [i, 2, 3],
      n: { a: [i] },
    }));
    const jsonl = Buffer.from(rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
    const csv = Buffer.from(
      `id,text\n${rows.map(({ id, text }) => `${id},"${text.replaceAll('"', '""')}"\n`).join("")}`,
    );

    /** Opens a file as a dataset, scans it, reads its units. */
    async function readAll(name: string, bytes: Buffer): Promise<void> {
      const at = join(folder, name);
      await writeFile(at, bytes);
      try {
        const dataset = await openDataset(at, null);
        for (const { raw } of await sampleRecords(dataset, 20)) JSON.stringify(raw);
        for (const stream of dataset.streams) {
          const { units } = await scanStream({ stream, samplesPerShard: 8, maxRecords: 1000 });
          const opened = openRecordStream(stream);
          try {
            // Units share row groups: each second one alone is read, so that what lies between is passed over.
            for (const unit of units.filter((_, i) => i % 2 === 1)) JSON.stringify(await opened.read(unit));
          } finally {
            await opened.close();
          }
        }
      } finally {
        await rm(at, { force: true });
      }
    }

    it("JSON lines, text and CSV", async () => {
      await fuzz(few, [jsonl], (bytes) => readAll("d.jsonl", bytes));
      await fuzz(few, [jsonl], (bytes) => readAll("d.txt", bytes));
      await fuzz(few, [csv], (bytes) => readAll("d.csv", bytes));
    });

    it("Parquet", () => fuzz(few, files("parquet", /\.parquet$/), (bytes) => readAll("d.parquet", bytes)));

    it("compressed files", async () => {
      const zst = readFileSync(join(FIXTURES, "parquet/rows.jsonl.zst"));
      const every = async (name: string, bytes: Buffer) => {
        const at = join(folder, name);
        await writeFile(at, bytes);
        let count = 0;
        for await (const _ of readEveryRecord([at], undefined)) if (++count > 10_000) break;
      };
      await fuzz(few, [gzipSync(jsonl)], (bytes) => every("d.jsonl.gz", bytes));
      await fuzz(few, [zst], (bytes) => every("d.jsonl.zst", bytes));
    });
  });

  describe("damaged runs", () => {
    /** A copy in which an object holds other bytes. */
    async function copyWith(changed: string, bytes: Uint8Array): Promise<MemoryStore> {
      const copy = new MemoryStore();
      for await (const { name } of run.list(""))
        await copy.create(name, name === changed ? bytes : await run.read(name));
      return copy;
    }

    /** Everything that reads a run. */
    async function readRun(store: MemoryStore): Promise<void> {
      const readable = await openRunForReading(store);
      const report = await verifyRun(readable, { deep: true });
      JSON.stringify(report);
      await orRefuse(() => readStatus(readable));
      await orRefuse(() => collectGarbage(store, { dryRun: true, look: { wait: async () => {} } }));
      const { taps } = readable.run.identity;
      const options = { samples: 3, wanted: undefined, taps: taps.slice(0, 1), rows: 4 };
      await orRefuse(() => inspectCommits(readable, readable.log.commits(), options));
      const to = join(folder, "export");
      await orRefuse(() => exportRun(readable, { to: "npy", folder: to, taps: taps.slice(0, 1) }));
      await rm(to, { recursive: true, force: true });
    }

    it("are refused, or said to be damaged", async () => {
      const names = [
        "run.json",
        "tpu_0/shard_0001.json",
        "tpu_0/shard_0001.safetensors",
        "workers/maker.json",
        "index.json",
      ];
      for (const name of names) {
        const valid = await run.read(name);
        await fuzz(few, [valid], async (bytes) => readRun(await copyWith(name, bytes)));
      }
    });

    it("whose ids fit all the same", async () => {
      const valid = Buffer.from(
        JSON.stringify((JSON.parse(Buffer.from(await run.read("run.json")).toString()) as RunFile).identity),
      );
      await fuzz(few, [valid], async (bytes) => {
        let identity: RunFile["identity"];
        try {
          identity = JSON.parse(bytes.toString("utf8"));
        } catch {
          return;
        }
        await readRun(await copyWith("run.json", encodeRunFile(identity, {})));
      });
    });
  });
}
