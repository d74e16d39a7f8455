// The suite that every engine passes on every family: agreement with PyTorch to 1e-4 of each tensor's maximum. The
// fixtures were made by transformers (tools/make_model_fixtures.py), never by our own code.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { headerLength, parseSafetensorsHeader } from "../base/safetensors-header.js";
import type { Graph } from "../graph/graph.js";
import { type HookPoint, hookPoints } from "../model/hooks.js";
import { buildGraph, type Checkpoint, openModel } from "../model/model.js";
import type { Engine, LoadedModel, TokenBatch } from "./engine.js";
import { identitiesOf } from "./hook-identities.suite.js";

const ROOT = fileURLToPath(new URL("../../test/fixtures/models/", import.meta.url));
export const FIXTURES = readdirSync(ROOT, { withFileTypes: true })
  .filter((e) => e.isDirectory())
  .map((e) => e.name);
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

/** All hook points of a checkpoint, as a graph in float32. */
export function graphOf(checkpoint: Checkpoint): Graph {
  const taps = hookPoints(checkpoint.shape.build).map((point) => point.name);
  return buildGraph(checkpoint, { taps, selection: "rows", tapDType: "float32" });
}

/** Loads all hooks of a checkpoint in float32. */
export async function loadAll(engine: Engine, checkpoint: Checkpoint): Promise<LoadedModel> {
  return engine.load(graphOf(checkpoint), checkpoint.weights);
}

/**
 * The worst error of each tensor, by hook name and case. An expectation of fewer rows is of the sample's last ones. A tensor that is
 * expected and not found counts as infinitely wrong.
 */
export async function errorsOf(model: LoadedModel, fixture: Fixture): Promise<Map<string, number>> {
  const errors = new Map<string, number>();
  for (const { name, samples } of fixture.cases) {
    const found = await runTaps(model, batchOf(samples));
    const rows = samples.flat().length;
    let end = 0;
    for (const [s, ids] of samples.entries()) {
      end += ids.length;
      const prefix = `${name}/${s}/`;
      for (const [key, expected] of fixture.expected) {
        if (!key.startsWith(prefix)) continue;
        const hook = key.slice(prefix.length);
        const all = found.get(hook) ?? new Float32Array();
        const last = (end * all.length) / rows;
        const error = relativeError(all.subarray(Math.max(0, last - expected.length), last), expected);
        errors.set(`${name} ${hook}`, Math.max(errors.get(`${name} ${hook}`) ?? 0, error));
      }
    }
  }
  return errors;
}

/** The worst error over all tensors of all cases of a fixture. */
export async function worstError(model: LoadedModel, fixture: Fixture): Promise<number> {
  return Math.max(...(await errorsOf(model, fixture)).values());
}

/** Runs the shared suite on one engine. */
export function describeEngine(engine: Engine): void {
  describe.each(FIXTURES)(`${engine.name} on %s`, (name) => {
    const fixture = readFixture(name);
    let model: LoadedModel;
    let points: HookPoint[];
    beforeAll(async () => {
      const checkpoint = await openModel(fixture.folder);
      points = hookPoints(checkpoint.shape.build);
      model = await loadAll(engine, checkpoint);
    });
    afterAll(() => model.close());

    it("agrees with PyTorch in every hook point: alone, in a batch of unequal lengths, one token, long", async () => {
      const errors = await errorsOf(model, fixture);
      const wrong = [...errors].filter(([, error]) => !(error < 1e-4));
      expect(wrong).toEqual([]);
      // PyTorch's tensors are there for every hook point; resid_pre of the later blocks is the output of the one before.
      const compared = points
        .filter((p) => p.hook !== "resid_pre" || p.layer === 0)
        .map((p) => `one ${p.name}`);
      expect(compared.filter((key) => !errors.has(key))).toEqual([]);
    });

    it("holds the identities of the hook points", async () => {
      const found = await runTaps(model, batchOf(fixture.cases[0]?.samples ?? []));
      const has = (hook: string) => points.some((p) => p.hook === hook);
      const get = (layer: number, hook: string) => {
        const value = found.get(`blocks.${layer}.hook_${hook}`);
        if (!value) throw new Error(`no ${hook} of block ${layer}`);
        return value;
      };
      const sum = (...parts: Float32Array[]) =>
        Float32Array.from(parts[0] ?? [], (_, i) =>
          parts.reduce((total, p) => total + (p[i] ?? Number.NaN), 0),
        );
      const layers = 1 + Math.max(...points.map((p) => p.layer ?? 0));
      expect(layers).toBeGreaterThan(1);
      for (let l = 0; l < layers; l++) {
        const [pre, attn, mlp, post] = [
          get(l, "resid_pre"),
          get(l, "attn_out"),
          get(l, "mlp_out"),
          get(l, "resid_post"),
        ];
        expect(pre.length).toBeGreaterThan(0);
        expect(relativeError(sum(pre, attn, mlp), post)).toBeLessThan(1e-6);
        if (has("resid_mid")) {
          expect(relativeError(sum(pre, attn), get(l, "resid_mid"))).toBeLessThan(1e-6);
          expect(relativeError(sum(get(l, "resid_mid"), mlp), post)).toBeLessThan(1e-6);
        }
        if (l > 0) expect(pre).toEqual(get(l - 1, "resid_post"));
      }
      const embedded = [found.get("hook_embed"), found.get("hook_pos_embed")].filter((x) => x !== undefined);
      expect(relativeError(sum(...embedded), get(0, "resid_pre"))).toBeLessThan(1e-6);
    });

    it("holds what hook points are, computed again from those before them and the checkpoint's parameters", async () => {
      const ids = fixture.cases[0]?.samples[0] ?? [];
      const checkpoint = await openModel(fixture.folder);
      const found = await runTaps(model, batchOf([ids]));
      const identities = identitiesOf(checkpoint, graphOf(checkpoint), found, [...ids.keys()]);
      const wrong = identities
        .map(({ name, found, expected }) => [name, relativeError(found, expected)] as const)
        .filter(([, error]) => !(error < 1e-5));
      expect(wrong).toEqual([]);
      const rotary = points.some((p) => p.hook === "rot_q");
      expect(identities).toHaveLength(checkpoint.shape.layers * (rotary ? 4 : 2) + 1);
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
