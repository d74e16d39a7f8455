// Windows and contexts as a whole: what is stored must be what the model computes of each piece alone.

import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { expect, it } from "vitest";
import { relativeError } from "../src/engine/engine.suite.js";
import { openRunForReading } from "../src/read/open-run.js";
import { readInt32, readInt64, readTensor } from "../src/read/read-tensor.js";
import type { ExtractOptions } from "../src/run/extract-options.js";
import { FileStore } from "../src/store/file.js";
import { callSluice, smallRun, temporaryFolder, tokenRecords, writeJsonl } from "./helpers.js";
import { closeWorkshop, openWorkshop, work } from "./in-process.js";

/** The rows of a run's hook, all shards one after the other, and which token and place each is of. */
async function rowsOf(run: string, hook: string) {
  const { log, store } = await openRunForReading(new FileStore(run));
  const rows: number[] = [];
  const ids: number[] = [];
  const positions: number[] = [];
  const lengths: number[] = [];
  for (const commit of await log.readAll()) {
    rows.push(...new Float32Array((await readTensor(store, commit, hook)).slice().buffer));
    ids.push(...(await readInt32(store, commit, "token_ids")));
    positions.push(...(await readInt32(store, commit, "positions")));
    const offsets = await readInt64(store, commit, "sample_offsets");
    lengths.push(...offsets.slice(1).map((offset, i) => offset - (offsets[i] ?? 0)));
  }
  return { rows, ids, positions, lengths };
}

it("a context holds what the model makes of each document's piece alone, or of the whole context", async () => {
  const folder = await temporaryFolder();
  const records = tokenRecords(24, 9);
  const dataset = await writeJsonl(join(folder, "d.jsonl"), records);
  const size = 16;
  // By hand: units of 8 records, cut into contexts of 16 tokens.
  const contexts: number[][][] = [];
  for (let unit = 0; unit < 3; unit++) {
    let room = 0;
    for (const { token_ids } of records.slice(unit * 8, unit * 8 + 8)) {
      for (let start = 0; start < token_ids.length; ) {
        if (room === 0) {
          contexts.push([]);
          room = size;
        }
        const piece = token_ids.slice(start, start + room);
        contexts.at(-1)?.push(piece);
        room -= piece.length;
        start += piece.length;
      }
    }
  }
  const hook = "blocks.1.hook_resid_post";
  const run = async (
    name: string,
    records: readonly (readonly number[])[] | null,
    options: Partial<ExtractOptions> = {},
  ) => {
    const data = records
      ? await writeJsonl(
          join(folder, `${name}.jsonl`),
          records.map((token_ids) => ({ token_ids })),
        )
      : dataset;
    const settings = {
      dataset: data,
      dtype: "float32",
      layers: "1",
      samplesPerShard: 8,
      ...options,
    } as const;
    const workshop = await openWorkshop(join(folder, `${name}-workshop`), settings);
    const store = new FileStore(join(folder, name));
    await work(workshop, { store, spool: join(folder, `${name}-spool`), uuid: randomUUID() });
    await closeWorkshop(workshop);
    return rowsOf(join(folder, name), hook);
  };
  const alone = await run("alone", contexts.flat());
  const packed = await run("packed", null, { contextSize: 16 });
  expect(packed.ids).toEqual(alone.ids);
  expect(packed.lengths).toEqual(contexts.map((pieces) => pieces.flat().length));
  expect(relativeError(Float32Array.from(packed.rows), Float32Array.from(alone.rows))).toBeLessThan(1e-5);
  expect(packed.positions.slice(0, 16)).toEqual(Array.from({ length: 16 }, (_, place) => place));

  const whole = await run(
    "whole",
    contexts.map((pieces) => pieces.flat()),
  );
  const across = await run("across", null, { contextSize: 16, attendAcross: true, positions: "3:-2" });
  const isKept = whole.positions.map((place, i) => {
    const sample = whole.positions.slice(0, i + 1).filter((p) => p === 0).length - 1;
    return place >= 3 && place < (whole.lengths[sample] ?? 0) - 2;
  });
  expect(across.ids).toEqual(whole.ids.filter((_, i) => isKept[i]));
  const kept = whole.rows.filter((_, i) => isKept[Math.floor(i / 48)]);
  expect(relativeError(Float32Array.from(across.rows), Float32Array.from(kept))).toBeLessThan(1e-5);
  expect(relativeError(Float32Array.from(whole.rows), Float32Array.from(packed.rows))).toBeGreaterThan(1e-3);

  const some = await run("some", null, { contextSize: 16, positions: "0,5,-1", dropShort: true });
  const full = contexts.filter((pieces) => pieces.flat().length === 16);
  expect(some.ids).toEqual(full.flatMap((pieces) => [0, 5, 15].map((place) => pieces.flat()[place])));
  expect(some.positions).toEqual(full.flatMap(() => [0, 5, 15]));
});

it("refuses flags that mean nothing together", async () => {
  const folder = await temporaryFolder();
  const dataset = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(3));
  const refused = async (...more: string[]) => {
    const ended = await callSluice(smallRun(dataset, join(folder, "run"), ...more));
    expect(ended.code).toBe(64);
    return ended.stderr;
  };
  expect(await refused("--stride", "4")).toContain("--stride needs --too-long window");
  const long = ["--max-seq-length", "8", "--too-long", "window", "--stride", "9"];
  expect(await refused(...long)).toContain("--stride is longer than the window");
  expect(await refused("--drop-short")).toContain("--drop-short needs --context-size");
  expect(await refused("--context-size", "8", "--positions", "mean")).toContain("needs --attend-across");
  expect(await refused("--keep-columns", "idd")).toMatch(/idd.*perhaps id/s);
});
