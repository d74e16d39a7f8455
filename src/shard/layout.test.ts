// Where every byte of a shard lies, for any contents: what is fixed and what the engine writes tile the file exactly, and a
// reader that knows only the format finds the same.

import fc from "fast-check";
import { expect, it } from "vitest";
import { bytesOf, elementsOf, type FloatDType, safetensorsName } from "../base/dtype.js";
import { headerLength, parseSafetensorsHeader } from "../base/safetensors-header.js";
import type { ShardContents, ShardLayout } from "./format.js";
import { findFormat } from "./formats.js";
import { type IndexedSamples, indexTensors } from "./index-tensors.js";

/** Samples of 1 to 6 tokens, of which any may be selected. */
const samplesArbitrary: fc.Arbitrary<IndexedSamples> = fc
  .array(
    fc.record({
      ids: fc.array(fc.nat(500), { minLength: 1, maxLength: 6 }),
      selected: fc.array(fc.boolean(), { minLength: 6, maxLength: 6 }),
      info: fc.string({ unit: "grapheme", maxLength: 12 }),
    }),
    { maxLength: 7 },
  )
  .map((samples) => {
    const chosen = samples.map(({ ids, selected }) => ids.flatMap((_, i) => (selected[i] ? [i] : [])));
    return {
      count: samples.length,
      records: BigInt64Array.from(samples, (_, i) => BigInt(3 * i)),
      parts: new Int32Array(samples.length),
      inputIds: Int32Array.from(samples.flatMap(({ ids }) => ids)),
      inputOffsets: offsetsOf(samples.map(({ ids }) => ids.length)),
      inputFlags: Uint8Array.from(samples.flatMap(({ ids }) => ids.map(() => 0))),
      positions: Int32Array.from(chosen.flat()),
      positionOffsets: offsetsOf(chosen.map((places) => places.length)),
      infos: samples.map(({ info }) => JSON.stringify({ id: info })),
    };
  });

const contentsArbitrary = fc
  .record({
    samples: samplesArbitrary,
    layers: fc.uniqueArray(fc.nat(40), { minLength: 1, maxLength: 4 }),
    hooks: fc.subarray(["resid_pre", "resid_mid", "attn_out"], { minLength: 1 }),
    rowShape: fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 2 }),
    dtype: fc.constantFrom<FloatDType>("float32", "bfloat16", "float16"),
    reduced: fc.boolean(),
    note: fc.string({ unit: "grapheme", maxLength: 80 }),
  })
  .map(({ samples, layers, hooks, rowShape, dtype, reduced, note }) => ({
    hooks: hooks.length,
    rowShape,
    contents: (stored: (dtype: FloatDType) => FloatDType): ShardContents => ({
      activations: layers
        .toSorted((a, b) => a - b)
        .flatMap((layer) =>
          hooks.map((hook) => ({
            name: `blocks.${layer}.hook_${hook}`,
            layer,
            rowShape,
            dtype: stored(dtype),
            meaning: note,
          })),
        ),
      rowOffsets: reduced
        ? Int32Array.from({ length: samples.count + 1 }, (_, i) => i)
        : samples.positionOffsets,
      index: indexTensors(samples, reduced ? "mean" : "rows"),
      sampleIds: samples.records,
      previews: samples.infos,
      metadata: { format: "sluice-shard-1", note },
    }),
  }));

it("safetensors: the parts tile the file, and a reader finds each tensor", () => {
  const format = findFormat("safetensors");
  fc.assert(
    fc.property(contentsArbitrary, ({ contents: fill }) => {
      const contents = fill(format.storedDType);
      const layout = format.layout(contents);
      expectTiled(layout, contents);

      const file = fileOf(layout);
      const length = headerLength(file.subarray(0, 8), file.length, "shard");
      const header = parseSafetensorsHeader(file.subarray(8, 8 + length), file.length, "shard");
      expect(header.dataStart % 64).toBe(0);
      expect(header.metadata).toMatchObject(contents.metadata);
      expect(header.tensors.at(-1)?.end).toBe(layout.size);
      const found = header.tensors.map(({ name, dtype, shape, start, end }) => [
        name,
        dtype,
        shape,
        start,
        end,
      ]);
      const told = layout.tensors.map((t) => [
        t.name,
        safetensorsName(t.dtype),
        t.shape,
        t.offset,
        t.offset + t.length,
      ]);
      expect(new Set(found.map((t) => JSON.stringify(t)))).toEqual(
        new Set(told.map((t) => JSON.stringify(t))),
      );

      // Widest elements first; within a width the index comes first, then layer and hook as they were given.
      const order = [...contents.index, ...contents.activations].map(({ name }) => name);
      const ranks = layout.tensors.map((t) => [-bytesOf(t.dtype), order.indexOf(t.name)] as const);
      expect(ranks).toEqual([...ranks].sort((a, b) => a[0] - b[0] || a[1] - b[1]));

      for (const { name, data } of contents.index) {
        const tensor = header.tensors.find((t) => t.name === name);
        expect(Buffer.from(file.subarray(tensor?.start, tensor?.end)).equals(Buffer.from(data)), name).toBe(
          true,
        );
      }
      for (const [a, { name }] of contents.activations.entries()) {
        const tensor = header.tensors.find((t) => t.name === name);
        for (const { start, end } of rangesOf(layout, contents, a)) {
          expect(start).toBeGreaterThanOrEqual(tensor?.start ?? Number.NaN);
          expect(end).toBeLessThanOrEqual(tensor?.end ?? Number.NaN);
        }
      }
    }),
  );
});

it("pkl.gz: the parts tile the pickle, and each array has the length that stands before it", () => {
  const format = findFormat("pkl.gz");
  fc.assert(
    fc.property(contentsArbitrary, ({ contents: fill, hooks }) => {
      const contents = fill(format.storedDType);
      if (hooks > 1) {
        expect(() => format.layout(contents)).toThrow("one hook");
        return;
      }
      const layout = format.layout(contents);
      expectTiled(layout, contents);
      expect(layout.tensors).toEqual([]);
      const file = fileOf(layout);
      expect([file[0], file[1], file.at(-1)]).toEqual([0x80, 4, 0x2e]);
      const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
      for (const a of contents.activations.keys())
        for (const { start, end } of rangesOf(layout, contents, a)) {
          expect(view.getUint8(start - 9), "BINBYTES8").toBe(0x8e);
          expect(view.getBigUint64(start - 8, true)).toBe(BigInt(end - start));
        }
    }),
  );
});

/** Every byte belongs to one literal, or to the rows of one sample of one activation. */
function expectTiled(layout: ShardLayout, contents: ShardContents): void {
  expect(layout.places).toHaveLength(contents.activations.length * (contents.rowOffsets.length - 1));
  const literals = layout.literals.map(({ offset, bytes }) => ({
    start: offset,
    end: offset + bytes.length,
  }));
  expect(literals, "literals ascend").toEqual(literals.toSorted((a, b) => a.start - b.start));
  const rows = [...contents.activations.keys()].flatMap((a) => rangesOf(layout, contents, a));
  const parts = [...literals, ...rows].filter((p) => p.end > p.start).sort((a, b) => a.start - b.start);
  let end = 0;
  for (const part of parts) {
    expect(part.start, "no gap, no overlap").toBe(end);
    end = part.end;
  }
  expect(end).toBe(layout.size);
}

function rangesOf(layout: ShardLayout, contents: ShardContents, activation: number) {
  const { rowOffsets } = contents;
  const spec = contents.activations[activation];
  if (!spec) throw new Error(`no activation ${activation}`);
  const samples = rowOffsets.length - 1;
  return Array.from({ length: samples }, (_, s) => {
    const start = layout.places[activation * samples + s] ?? Number.NaN;
    const rows = (rowOffsets[s + 1] ?? 0) - (rowOffsets[s] ?? 0);
    return { start, end: start + rows * elementsOf(spec.rowShape) * bytesOf(spec.dtype) };
  });
}

/** The file before the engine has written anything. */
function fileOf(layout: ShardLayout): Uint8Array {
  const file = new Uint8Array(layout.size);
  for (const { offset, bytes } of layout.literals) file.set(bytes, offset);
  return file;
}

function offsetsOf(lengths: readonly number[]): Int32Array {
  const offsets = new Int32Array(lengths.length + 1);
  for (const [i, length] of lengths.entries()) offsets[i + 1] = (offsets[i] ?? 0) + length;
  return offsets;
}
