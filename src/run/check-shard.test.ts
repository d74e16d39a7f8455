// A finished shard whose file or statistics are not what the unit asks for is never stored.

import { crc32c } from "@node-rs/crc32";
import { expect, it } from "vitest";
import { formatCrc } from "../base/crc.js";
import type { IndexTensor, ShardLayout } from "../shard/format.js";
import { checkComputed, checkLaidOut } from "./check-shard.js";
import type { UnitResult } from "./compute-unit.js";

const UNIT = { stream: 0, index: 3, from: 0, to: 2 };
const statistics = { count: 11, rows: 3, nan: 1, inf: 0, overflow: 0 };
const moments = { mean: 0, variance: 0, mean_norm: 0, max_abs: 0 };
const resultOf = (changes: object): UnitResult => ({
  statistics: [{ ...statistics, ...moments, ...changes }],
  nonFinite: [null],
  tokensComputed: 3,
  forwardSeconds: 0,
  seconds: 0,
});
const activations = [{ name: "blocks.0.hook_resid_post", width: 4 }];

it("counts every row and value of every activation", () => {
  checkComputed(UNIT, resultOf({}), activations, 3);
  for (const changes of [{ rows: 2 }, { count: 10 }, { nan: 0 }])
    expect(() => checkComputed(UNIT, resultOf(changes), activations, 3)).toThrow(
      expect.objectContaining({
        kind: "bug",
        message: expect.stringMatching(/hook_resid_post of tpu_0\/shard_0004/),
      }),
    );
  expect(() => checkComputed(UNIT, { ...resultOf({}), statistics: [] }, activations, 3)).toThrow(
    "found nothing",
  );
});

it("compares the file's size and index with what was to be written", () => {
  const data = Uint8Array.of(1, 2, 3, 4);
  const index: IndexTensor[] = [{ name: "token_ids", dtype: "int32", shape: [1], data }];
  const place = { name: "token_ids", dtype: "int32" as const, shape: [1], offset: 64, length: 4 };
  const layout: ShardLayout = { size: 68, literals: [], tensors: [place], places: new Float64Array() };
  const hash = { size: 68, sha256: "", crc32c: "", tensors: [formatCrc(crc32c(data))] };
  checkLaidOut(UNIT, layout, hash, index);
  checkLaidOut(UNIT, { ...layout, tensors: [] }, { ...hash, tensors: [] }, index);
  expect(() => checkLaidOut(UNIT, layout, { ...hash, size: 64 }, index)).toThrow("has 64 bytes");
  expect(() => checkLaidOut(UNIT, layout, { ...hash, tensors: ["00000000"] }, index)).toThrow(
    /token_ids of tpu_0\/shard_0004 is not what was to be written/,
  );
});
