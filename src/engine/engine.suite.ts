// The suite that every engine passes on every family: agreement with PyTorch to 1e-4 of each tensor's maximum. The
// fixtures were made by transformers (tools/make_model_fixtures.py), never by our own code.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { headerLength, parseSafetensorsHeader } from "../base/safetensors-header.js";
import { parseHooks } from "../model/hooks.js";
import { buildGraph, type Checkpoint, openModel } from "../model/model.js";
import type { Engine, LoadedModel, TokenBatch } from "./engine.js";

const ROOT = fileURLToPath(new URL("../../test/fixtures/models/", import.meta.url));
export const FIXTURES = readdirSync(ROOT, { withFileTypes: true })
  .filter((e) => e.isDirectory())
  .map((e) => e.name);
const ALL_HOOKS = "resid_pre,attn_out,resid_mid,mlp_out,resid_post";
const casesSchema = z.object({
  cases: z.array(z.object({ name: z.string(), samples: z.array(z.array(z.number())) })),
});

/** One fixture: the checkpoint's folder, PyTorch's tensors and the inputs they belong to. */
export interface Fixture {
  readonly folder: string;
  readonly cases: z.infer<typeof casesSchema>["cases"];
  readonly expected: ReadonlyMap<string, Float32Array>;
}

export function readFixture(name: string): Fixture {
  const folder = join(ROOT, name);
  const bytes = new Uint8Array(readFileSync(join(folder, "expected.safetensors")));
  const length = headerLength(bytes, bytes.length, name);
  const { tensors } = parseSafetensorsHeader(bytes.subarray(8, 8 + length), bytes.length, name);
  const expected = new Map(
    tensors.map((t) => [t.name, new Float32Array(bytes.slice(t.start, t.end).buffer)]),
  );
  return {
    folder,
    expected,
    cases: casesSchema.parse(JSON.parse(readFileSync(join(folder, "cases.json"), "utf8"))).cases,
  };
}

/** Samples padded on the right to the longest, or to more; every row selected. */
export function batchOf(samples: readonly (readonly number[])[], padTo = 0): TokenBatch {
  const length = Math.max(padTo, ...samples.map((s) => s.length));
  const tokens = new Int32Array(samples.length * length);
  for (const [i, ids] of samples.entries()) tokens.set(ids, i * length);
  const rows = Int32Array.from(samples.flatMap((ids, i) => ids.map((_, p) => i * length + p)));
  return {
    samples: samples.length,
    length,
    tokens,
    lengths: Int32Array.from(samples.map((s) => s.length)),
    rows,
  };
}

/** The taps' values by name, float32. */
export async function runTaps(model: LoadedModel, batch: TokenBatch): Promise<Map<string, Float32Array>> {
  const outputs = await model.run(batch);
  return new Map(outputs.map((o) => [o.name, new Float32Array(Uint8Array.from(o.data).buffer)]));
}

/** The largest difference over the largest value. */
export function relativeError(found: Float32Array | undefined, expected: Float32Array): number {
  if (!found || found.length !== expected.length) return Number.POSITIVE_INFINITY;
  let difference = 0;
  let top = 0;
  for (const [i, e] of expected.entries()) {
    difference = Math.max(difference, Math.abs((found[i] ?? Number.NaN) - e));
    top = Math.max(top, Math.abs(e));
  }
  return difference / top;
}

/** Loads all hooks of a checkpoint in float32. */
export async function loadAll(engine: Engine, checkpoint: Checkpoint): Promise<LoadedModel> {
  const taps = parseHooks(ALL_HOOKS, "all", checkpoint.shape.layers).map((tap) => tap.name);
  const graph = buildGraph(checkpoint, { taps, selection: "rows", tapDType: "float32" });
  return engine.load(graph, checkpoint.weights);
}

/** The worst error over all tensors of all cases of a fixture. */
export async function worstError(model: LoadedModel, fixture: Fixture): Promise<number> {
  let worst = 0;
  for (const { name, samples } of fixture.cases) {
    const found = await runTaps(model, batchOf(samples));
    for (const [hook, all] of found) {
      const width = all.length / samples.flat().length;
      let row = 0;
      for (const [s, ids] of samples.entries()) {
        const expected = fixture.expected.get(`${name}/${s}/${hook}`);
        if (expected)
          worst = Math.max(
            worst,
            relativeError(all.subarray(row * width, (row + ids.length) * width), expected),
          );
        row += ids.length;
      }
    }
  }
  return worst;
}

/** Runs the shared suite on one engine. */
export function describeEngine(engine: Engine): void {
  describe.each(FIXTURES)(`${engine.name} on %s`, (name) => {
    const fixture = readFixture(name);
    let model: LoadedModel;
    beforeAll(async () => {
      model = await loadAll(engine, await openModel(fixture.folder));
    });
    afterAll(() => model.close());

    it("agrees with PyTorch: alone, in a batch of unequal lengths, one token, long", async () => {
      expect(fixture.expected.size).toBeGreaterThan(50);
      expect(await worstError(model, fixture)).toBeLessThan(1e-4);
    });

    it("holds the identities of the residual stream", async () => {
      const [one] = fixture.cases;
      const found = await runTaps(model, batchOf(one?.samples ?? []));
      const get = (layer: number, hook: string) =>
        found.get(`blocks.${layer}.hook_${hook}`) ?? new Float32Array();
      const sum = (a: Float32Array, b: Float32Array) => a.map((v, i) => v + (b[i] ?? Number.NaN));
      for (const layer of [0, 1]) {
        expect(get(layer, "resid_pre").length).toBeGreaterThan(0);
        expect(
          relativeError(sum(get(layer, "resid_pre"), get(layer, "attn_out")), get(layer, "resid_mid")),
        ).toBeLessThan(1e-6);
        expect(
          relativeError(sum(get(layer, "resid_mid"), get(layer, "mlp_out")), get(layer, "resid_post")),
        ).toBeLessThan(1e-6);
      }
      expect(get(0, "resid_post")).toEqual(get(1, "resid_pre"));
    });

    it("gives the same rows whatever else is in the batch, and however long the padding is", async () => {
      const [one] = fixture.cases;
      const ids = one?.samples[0] ?? [];
      const alone = await runTaps(model, batchOf([ids]));
      const together = await runTaps(model, batchOf([ids, [3], [...ids].reverse()], ids.length + 9));
      for (const [hook, values] of alone)
        expect(relativeError(together.get(hook)?.subarray(0, values.length), values)).toBeLessThan(1e-5);
    });

    it("gives back the rows asked for, and reduces over them", async () => {
      const samples = fixture.cases.find((c) => c.name === "batch")?.samples ?? [];
      const batch = batchOf(samples);
      const rows = batch.rows.filter((_, i) => i % 3 !== 2);
      const tap = "blocks.1.hook_resid_post";
      const full = (await runTaps(model, batch)).get(tap) ?? new Float32Array();
      const width = full.length / batch.rows.length;
      const rowOf = (flat: number) =>
        full.subarray(batch.rows.indexOf(flat) * width, (batch.rows.indexOf(flat) + 1) * width);
      const checkpoint = await openModel(fixture.folder);
      for (const selection of ["rows", "mean", "max"] as const) {
        const loaded = await engine.load(
          buildGraph(checkpoint, { taps: [tap], selection, tapDType: "float32" }),
          checkpoint.weights,
        );
        const found = (await runTaps(loaded, { ...batch, rows })).get(tap);
        const groups =
          selection === "rows"
            ? [...rows].map((r) => [r])
            : samples.map((_, s) => [...rows].filter((r) => Math.floor(r / batch.length) === s));
        const expected = groups.flatMap((group) =>
          Array.from({ length: width }, (_, i) => {
            const column = group.map((r) => rowOf(r)[i] ?? Number.NaN);
            return selection === "max"
              ? Math.max(...column)
              : column.reduce((a, b) => a + b, 0) / column.length;
          }),
        );
        expect(relativeError(found, Float32Array.from(expected))).toBeLessThan(1e-5);
        await loaded.close();
      }
    });
  });
}
