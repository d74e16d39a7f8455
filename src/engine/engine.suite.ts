// The suite that every engine passes on every family: agreement with PyTorch to 1e-4 of each tensor's maximum. The
// fixtures were made by transformers (tools/make_model_fixtures.py), never by our own code.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type HookPoint, hookPoints } from "../model/hooks.js";
import { buildGraph, openModel } from "../model/model.js";
import type { Engine, LoadedModel } from "./engine.js";
import { identitiesOf } from "./hook-identities.suite.js";
import {
  batchOf,
  errorsOf,
  FIXTURES,
  graphOf,
  loadAll,
  readFixture,
  relativeError,
  runTaps,
} from "./model-fixtures.suite.js";

export * from "./model-fixtures.suite.js";

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
      expect(identities).toHaveLength(checkpoint.shape.layers * (rotary ? 5 : 3) + 1);
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
