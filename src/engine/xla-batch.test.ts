import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { roundShape } from "../plan/batch-shapes.js";
import { batchOf } from "./model-fixtures.suite.js";
import type { Client, Device, DeviceBuffer } from "./pjrt/pjrt.js";
import { padBatch, uploadBatch } from "./xla-batch.js";

describe("a batch as a module takes it", () => {
  const samples = fc.array(fc.array(fc.integer({ min: 1, max: 99 }), { minLength: 1, maxLength: 70 }), {
    minLength: 1,
    maxLength: 9,
  });

  it("holds every token and row in its new place, and zeros", () => {
    fc.assert(
      fc.property(samples, fc.integer({ min: 1, max: 5 }), (ids, every) => {
        const batch = batchOf(ids);
        const rows = batch.rows.filter((_, i) => i % every === 0);
        const { shape, tokens, selector } = padBatch({ ...batch, rows }, "rows");
        expect(shape).toMatchObject(roundShape(batch));
        expect(tokens).toHaveLength(shape.samples * shape.length);
        expect(selector).toHaveLength(shape.rows);
        expect(shape.rows).toBeLessThanOrEqual(tokens.length);
        expect([...rows].map((row) => batch.tokens[row])).toEqual(
          [...selector.subarray(0, rows.length)].map((row) => tokens[row]),
        );
        expect([...selector.subarray(rows.length)].every((row) => row === 0)).toBe(true);
        expect(tokens.filter((id) => id !== 0)).toEqual(batch.tokens.filter((id) => id !== 0));
      }),
    );
  });

  it("gives back one row a sample, or all, in as many places; in between a power of two", () => {
    const batch = batchOf([Array(100).fill(1), Array(90).fill(1), [1]]);
    const rowsOf = (rows: number[]) => padBatch({ ...batch, rows: Int32Array.from(rows) }, "rows").shape;
    expect(rowsOf([99, 189, 200])).toEqual({ samples: 4, length: 112, rows: 4 });
    expect(rowsOf([...batch.rows])).toEqual({ samples: 4, length: 112, rows: 4 * 64 });
    expect(rowsOf([])).toEqual({ samples: 4, length: 112, rows: 4 });
    const alone = batchOf([Array(100).fill(1)]);
    expect(padBatch(alone, "rows").shape.rows).toBe(112);
  });

  it("weighs the rows that are reduced", () => {
    const batch = batchOf([[1, 2, 3], [4]]);
    const { selector, shape } = padBatch({ ...batch, rows: Int32Array.of(0, 2, 3) }, "mean");
    expect(shape).toEqual({ samples: 2, length: 16, rows: 2 });
    expect([...selector].flatMap((w, i) => (w === 0 ? [] : [[i, w]]))).toEqual([
      [0, 0.5],
      [2, 0.5],
      [16, 1],
    ]);
  });
});

describe("a batch on its way to devices", () => {
  const devices = [0, 1].map((id): Device => ({ id, kind: "cpu", memory: () => null }));
  const padded = padBatch(batchOf([[1, 2, 3], [4]]), "rows");

  it.each([0, 1, 2, 3, null])("is there as a whole or not at all (upload %s fails)", (failing) => {
    const live = new Set<DeviceBuffer>();
    let count = 0;
    const upload: Client["upload"] = (bytes, spec, device) => {
      if (count++ === failing) throw new Error("RESOURCE_EXHAUSTED");
      expect(bytes.byteLength).toBe(4 * spec.shape.reduce((a, b) => a * b));
      const buffer: DeviceBuffer = {
        ...spec,
        device,
        toHost: () => Promise.reject(new Error("not read here")),
        release: () => void live.delete(buffer),
      };
      live.add(buffer);
      return buffer;
    };
    const act = () => uploadBatch({ upload }, padded, devices);
    if (failing !== null) {
      expect(act).toThrow("RESOURCE_EXHAUSTED");
      expect(live.size).toBe(0);
      return;
    }
    const lists = act();
    expect(lists.map((list) => list.map(({ device, dtype, shape }) => [device.id, dtype, shape]))).toEqual(
      [0, 1].map((id) => [
        [id, "int32", [2, 16]],
        [id, "int32", [4]],
      ]),
    );
    expect(live).toEqual(new Set(lists.flat()));
  });
});
