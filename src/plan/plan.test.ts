// Properties of the planner: units, batches, positions.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { randomNumbers } from "../base/random.js";
import { type BatchShape, roundShape } from "./batch-shapes.js";
import { type BatchLimits, batchesOf } from "./batches.js";
import { parsePositions, selectPositions } from "./positions.js";
import { chooseSamplesPerShard } from "./samples-per-shard.js";
import { unitAt, unitCount, unitName } from "./unit.js";

const LIMITS: BatchLimits = {
  maxTokens: 2048,
  maxSamples: 4096,
  maxBytes: 2 ** 40,
  bytesPerToken: 1,
  bytesPerPair: 1,
};
const lengths = fc.array(fc.integer({ min: 1, max: 2048 }), { maxLength: 300 });
const limits = fc.record({
  maxTokens: fc.integer({ min: 1, max: 9000 }),
  maxSamples: fc.integer({ min: 1, max: 64 }),
  maxBytes: fc.integer({ min: 1, max: 10_000_000 }),
  bytesPerToken: fc.integer({ min: 0, max: 5000 }),
  bytesPerPair: fc.integer({ min: 0, max: 64 }),
  shapes: fc.constantFrom("any" as const, "few" as const),
});
const areaOf = ({ samples, length }: BatchShape) => samples * length;

it("puts every record in exactly one unit", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 5000 }), fc.integer({ min: 1, max: 700 }), (records, perShard) => {
      const seen: number[] = [];
      for (let i = 0; i < unitCount(records, perShard); i++) {
        const unit = unitAt(3, i, records, perShard);
        for (let r = unit.from; r < unit.to; r++) seen.push(r);
      }
      expect(seen).toEqual(Array.from({ length: records }, (_, r) => r));
    }),
  );
  expect(unitName({ stream: 5, index: 0 })).toBe("tpu_5/shard_0001");
  expect(unitName({ stream: 0, index: 12_344 })).toBe("tpu_0/shard_12345");
  expect(() => unitAt(0, 2, 10, 5)).toThrow(RangeError);
});

describe("batches", () => {
  it("hold every sample exactly once and keep to the limits", () => {
    fc.assert(
      fc.property(lengths, limits, (all, l) => {
        const batches = batchesOf(all, l);
        expect(batches.flatMap((b) => b.samples).sort((a, b) => a - b)).toEqual(all.map((_, i) => i));
        for (const { samples, length, computed } of batches) {
          if (l.shapes === "any") expect(computed).toBe(samples.length * length);
          else expect(computed).toBe(areaOf(roundShape({ samples: samples.length, length })));
          expect(length).toBe(Math.max(...samples.map((s) => all[s] ?? 0)));
          if (samples.length === 1) continue;
          const tokens = computed;
          expect(samples.length).toBeLessThanOrEqual(l.maxSamples);
          expect(tokens).toBeLessThanOrEqual(l.maxTokens);
          expect(tokens * l.bytesPerToken + tokens * length * l.bytesPerPair).toBeLessThanOrEqual(l.maxBytes);
        }
        expect(batchesOf([...all], { ...l })).toEqual(batches);
      }),
    );
  });

  it("have few shapes where the engine compiles each, and pad by an eighth at most besides what joins samples", () => {
    const shapes = new Set<string>();
    fc.assert(
      fc.property(lengths, (all) => {
        const batches = batchesOf(all, { ...LIMITS, maxTokens: 8192, shapes: "few" });
        for (const { samples, length } of batches) {
          const shape = roundShape({ samples: samples.length, length });
          shapes.add(`${shape.samples} x ${shape.length}`);
          expect(shape.length).toBeGreaterThanOrEqual(length);
          expect(shape.length - length).toBeLessThan(Math.max(16, length / 8));
          expect(roundShape(shape)).toEqual(shape);
        }
        const tokens = all.reduce((sum, n) => sum + n, 0);
        const computed = batches.reduce((sum, b) => sum + b.computed, 0);
        // Never worse than every sample in a batch of its own.
        expect(computed).toBeLessThanOrEqual(tokens * 1.125 + all.length * (16 + 48));
      }),
    );
    expect(shapes.size).toBeLessThan(300);
  });

  it("are filled up to a limit, and not past it", () => {
    const sizes = (limit: Partial<BatchLimits>) =>
      batchesOf(
        Array.from({ length: 8 }, () => 10),
        { ...LIMITS, ...limit },
      ).map(({ samples }) => samples.length);
    expect(sizes({ maxSamples: 4 })).toEqual([4, 4]);
    expect(sizes({ maxTokens: 40 })).toEqual([4, 4]);
    expect(sizes({ maxTokens: 39 })).toEqual([2, 3, 3]);
    expect(sizes({ maxBytes: 4 * 10 * (1 + 10) })).toEqual([4, 4]);
  });

  it("put short samples together, and pad little", () => {
    const random = randomNumbers("short");
    const short = Array.from({ length: 1000 }, () => 1 + (random() % 59));
    const batches = batchesOf(short, LIMITS);
    expect(short.length / batches.length).toBeGreaterThanOrEqual(16);
    const padded = batches.reduce((sum, b) => sum + b.samples.length * b.length, 0);
    expect(1 - short.reduce((a, b) => a + b) / padded).toBeLessThan(0.1);
  });
});

it("chooses samples per shard by bytes, or by tokens where these bind", () => {
  const even = (storedBytes: number, tokens: number) => [{ weight: 1, storedBytes, tokens }];
  expect(chooseSamplesPerShard(even(1e6, 100), 1e9)).toEqual({ samples: 1000, boundBy: "bytes" });
  expect(chooseSamplesPerShard(even(1e3, 1024), 1e9)).toEqual({ samples: 128, boundBy: "tokens" });
  expect(chooseSamplesPerShard(even(1e12, 1), 1e9).samples).toBe(1);
  expect(chooseSamplesPerShard([], 1e9).samples).toBe(65_536);
  const weighted = [
    { weight: 1, storedBytes: 100, tokens: 1 },
    { weight: 3, storedBytes: 500, tokens: 1 },
  ];
  expect(chooseSamplesPerShard(weighted, 4000).samples).toBe(10);
});

describe("positions", () => {
  const key = { seed: 42, record: 7, part: 0 };
  const select = (text: string, length: number, special: readonly number[] = []) =>
    selectPositions(parsePositions(text), length, (p) => special.includes(p), key);

  it("are those of the contract", () => {
    expect(select("all", 3)).toEqual([0, 1, 2]);
    expect(select("last", 4, [3])).toEqual([2]);
    expect(select("first", 4, [0])).toEqual([1]);
    expect(select("0,4,-1,4", 5)).toEqual([0, 4]);
    expect(select("0,4,-1", 3)).toEqual([0, 2]);
    expect(select("9", 3)).toEqual([]);
    expect(select("5:-5", 12)).toEqual([5, 6]);
    expect(select("-3:", 10)).toEqual([7, 8, 9]);
    expect(select("mean", 2, [0, 1])).toBeNull();
    expect(select("last", 1, [0])).toBeNull();
  });

  it("are random by seed and sample: distinct, ascending, all where there are few", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 300 }),
        fc.integer({ min: 1, max: 50 }),
        fc.integer({ min: 0, max: 1000 }),
        (length, count, record) => {
          const places =
            selectPositions({ kind: "random", count }, length, () => false, { ...key, record }) ?? [];
          expect(places).toHaveLength(Math.min(count, length));
          expect([...new Set(places)].sort((a, b) => a - b)).toEqual(places);
          expect(selectPositions({ kind: "random", count }, length, () => false, { ...key, record })).toEqual(
            places,
          );
        },
      ),
    );
    expect(select("random:5", 1000)).not.toEqual(
      selectPositions({ kind: "random", count: 5 }, 1000, () => false, { ...key, record: 8 }),
    );
    for (const other of [{ part: 1 }, { seed: 43 }])
      expect(select("random:5", 1000)).not.toEqual(
        selectPositions({ kind: "random", count: 5 }, 1000, () => false, { ...key, ...other }),
      );
  });

  it("select a role's words, special tokens apart", () => {
    const role = parsePositions("role:assistant");
    expect(role).toEqual({ kind: "role", role: "assistant" });
    const isSpecial = (place: number) => place === 3;
    expect(selectPositions(role, 6, isSpecial, key, (place) => place >= 2 && place < 5)).toEqual([2, 4]);
    expect(selectPositions(role, 6, isSpecial, key, () => false)).toEqual([]);
  });

  it.each(["", "x", "1,,2", "random:0", "-", "1:2:3", "role:", "role:model", "5:2", "3:3", ":0", "-2:-5"])(
    "refuses %j",
    (text) => {
      expect(() => parsePositions(text)).toThrow(/--positions/);
    },
  );
});
