// What an engine or a plan may get wrong, planted one by one: none of it becomes a shard. And NaN is named by sample,
// whatever batch it was in.

import { expect, it } from "vitest";
import { isSluiceError } from "../base/errors.js";
import type { LoadedModel, TapOutput, TokenBatch } from "../engine/engine.js";
import { computeUnit, type UnitJob } from "./compute-unit.js";
import { asComputeError, EngineFailure } from "./engine-process.js";

const NAME = "blocks.0.hook_resid_post";
const LENGTHS = [3, 1, 2, 4, 1, 1];
const OFFSETS = Int32Array.from([0, 3, 4, 6, 10, 11, 12]);
const WIDTH = 2;

/** Six samples of one activation; sample 5 is a second piece of sample 4's context. Every token's id is its place in the unit. */
function jobOf(changes: Partial<UnitJob> = {}): UnitJob {
  const ids = Int32Array.from({ length: 12 }, (_, i) => i);
  const positions = Int32Array.from(LENGTHS.flatMap((n) => Array.from({ length: n }, (_, p) => p)));
  return {
    inputIds: ids,
    inputOffsets: OFFSETS,
    positions,
    positionOffsets: OFFSETS,
    owners: Int32Array.of(0, 1, 2, 3, 4, 4),
    batches: [
      { samples: [3, 0, 2], length: 4, computed: 12 },
      { samples: [5, 1, 4], length: 1, computed: 3 },
    ],
    reduced: false,
    activations: [{ name: NAME, width: WIDTH, dtype: "float32" }],
    places: Float64Array.from(OFFSETS.subarray(0, 6), (offset) => offset * WIDTH * 4),
    ...changes,
  };
}

/** Gives [id, value of id] for each row. */
function modelOf(
  value: (id: number) => number = (id) => id,
  spoil = (output: TapOutput): TapOutput => output,
): LoadedModel {
  return {
    execution: { engine: "planted" },
    async run({ tokens, rows }: TokenBatch) {
      const ids = [...rows].map((row) => tokens[row] ?? -1);
      const data = new Uint8Array(Float32Array.from(ids.flatMap((id) => [id, value(id)])).buffer);
      return [spoil({ name: NAME, rows: ids.length, width: WIDTH, dtype: "float32", data })];
    },
    async close() {},
  };
}

async function compute(job: UnitJob, model: LoadedModel) {
  const file = new Uint8Array(12 * WIDTH * 4);
  const result = await computeUnit(model, job, (bytes, offset) => file.set(bytes, offset));
  return { result, values: [...new Float32Array(file.buffer)] };
}

it("writes each row to its place, and names the samples that are not finite", async () => {
  const clean = await compute(jobOf(), modelOf());
  expect(clean.values).toEqual(Array.from({ length: 24 }, (_, i) => Math.floor(i / 2)));
  expect(clean.result.nonFinite).toEqual([null]);
  const bad = new Map([
    [1, Number.NaN],
    [2, Number.POSITIVE_INFINITY],
    [8, Number.NEGATIVE_INFINITY],
    [10, Number.NaN],
    [11, Number.NaN],
  ]);
  const { result } = await compute(
    jobOf(),
    modelOf((id) => bad.get(id) ?? id),
  );
  expect(result.nonFinite).toEqual([
    {
      samples: 3,
      first: [
        { sample: 0, nan: 1, inf: 1 },
        { sample: 3, nan: 0, inf: 1 },
        { sample: 4, nan: 2, inf: 0 },
      ],
    },
  ]);
  expect(result.statistics[0]).toMatchObject({ nan: 3, inf: 2, rows: 12, count: 19 });
});

it("names the first four of many samples, ascending", async () => {
  const { result } = await compute(
    jobOf({ owners: Int32Array.of(0, 1, 2, 3, 4, 5) }),
    modelOf(() => Number.NaN),
  );
  const [found] = result.nonFinite;
  expect(found?.samples).toBe(6);
  expect(found?.first.map(({ sample, nan }) => [sample, nan])).toEqual([
    [0, 3],
    [1, 1],
    [2, 2],
    [3, 4],
  ]);
});

it("asks an engine that can for the next batches while it writes the last one, and keeps their order", async () => {
  const plain = modelOf();
  const batches = [0, 1, 2, 3, 4, 5].map((s) => ({ samples: [s], length: LENGTHS[s] ?? 0, computed: 4 }));
  const underWay: number[] = [];
  let asked = 0;
  const buffers: Uint8Array[] = [];
  const model: LoadedModel = {
    ...plain,
    ahead: 2,
    async run(batch) {
      const turn = asked++;
      underWay.push(turn);
      const [output] = await plain.run(batch);
      for (let i = 0; i < 5 - turn; i++) await new Promise((resolve) => setImmediate(resolve));
      underWay.splice(underWay.indexOf(turn), 1);
      // As an engine does that gives each output in one of three places.
      const data = buffers[turn % 3] ?? new Uint8Array(100);
      buffers[turn % 3] = data;
      data.set(output?.data ?? []);
      return [
        {
          name: NAME,
          rows: output?.rows ?? 0,
          width: WIDTH,
          dtype: "float32",
          data: data.subarray(0, output?.data.length),
        },
      ];
    },
  };
  const seen: number[] = [];
  const { values } = await compute(jobOf({ batches }), {
    ...model,
    run: (batch) => {
      seen.push(underWay.length);
      return model.run(batch);
    },
  });
  expect(values).toEqual(Array.from({ length: 24 }, (_, i) => Math.floor(i / 2)));
  expect(Math.max(...seen)).toBe(2);
});

it("waits for the batches it asked for before it gives up", async () => {
  let underWay = 0;
  const model: LoadedModel = {
    execution: { engine: "planted" },
    ahead: 3,
    async run({ length }) {
      underWay += 1;
      await new Promise((resolve) => setTimeout(resolve, 5));
      underWay -= 1;
      throw new Error(`no memory for ${length}`);
    },
    async close() {},
  };
  await expect(compute(jobOf(), model)).rejects.toThrow("no memory for 4");
  expect(underWay).toBe(0);
});

const drop = (output: TapOutput) => ({ ...output, rows: output.rows - 1 });
it.each([
  ["a row too few", jobOf(), modelOf(undefined, drop), /gave 8 x 2 values .*expected 9 x 2 in 72/],
  ["another width", jobOf(), modelOf(undefined, (o) => ({ ...o, width: 3 })), /expected 9 x 2/],
  [
    "a row that is not there",
    jobOf(),
    modelOf(undefined, (o) => ({ ...o, data: o.data.subarray(8) })),
    /gave 9 x 2 values .* in 64 bytes, expected 9 x 2 in 72/,
  ],
  ["another output", jobOf(), modelOf(undefined, (o) => ({ ...o, name: "x" })), /gave x for blocks.0/],
  [
    "a sample in no batch",
    jobOf({ batches: [{ samples: [3, 0, 2, 5, 1], length: 4, computed: 20 }] }),
    modelOf(),
    /the rows of sample 4 of blocks.0.hook_resid_post were not computed/,
  ],
  [
    "a sample in two batches",
    jobOf({ batches: [...jobOf().batches, { samples: [0], length: 3, computed: 3 }] }),
    modelOf(),
    /the rows of sample 0 of blocks.0.hook_resid_post were computed twice/,
  ],
])("%s is a bug", async (_, job, model, message) => {
  const error: unknown = await compute(job, model).catch((e: unknown) => e);
  expect(isSluiceError(error, "bug")).toBe(true);
  expect(error).toMatchObject({ message: expect.stringMatching(message) });
});

it("a bug ends the worker; what else an engine raises counts against the unit", () => {
  expect(asComputeError({ message: "no row", kind: "bug" }, "/tmp/spool")).toMatchObject({ exitCode: 70 });
  expect(asComputeError({ message: "no memory" }, "/tmp/spool")).toBeInstanceOf(EngineFailure);
});
