// Fixtures of the engine suite: tiny checkpoints and PyTorch's tensors for them (tools/make_model_fixtures.py), and the
// comparison of an engine with them. Free of the test runner, so that bench/model-errors.mjs uses it too.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { headerLength, parseSafetensorsHeader } from "../base/safetensors-header.js";
import type { Graph } from "../graph/graph.js";
import { hookPoints } from "../model/hooks.js";
import { buildGraph, type Checkpoint } from "../model/model.js";
import type { Engine, LoadedModel, TokenBatch } from "./engine.js";

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
  /** PyTorch's float32 of the model whose linear layers have weights in bfloat16: those of `expected` where they have. */
  readonly expectedBfloat16: ReadonlyMap<string, Float32Array>;
}

export function readFixture(name: string): Fixture {
  const folder = join(ROOT, name);
  const expected = readTensors(join(folder, "expected.safetensors"));
  const rounded = join(folder, "expected-bfloat16.safetensors");
  return {
    folder,
    expected,
    expectedBfloat16: existsSync(rounded) ? readTensors(rounded) : expected,
    cases: casesSchema.parse(JSON.parse(readFileSync(join(folder, "cases.json"), "utf8"))).cases,
  };
}

function readTensors(file: string): Map<string, Float32Array> {
  const bytes = new Uint8Array(readFileSync(file));
  const length = headerLength(bytes, bytes.length, file);
  const { tensors } = parseSafetensorsHeader(bytes.subarray(8, 8 + length), bytes.length, file);
  return new Map(tensors.map((t) => [t.name, new Float32Array(bytes.slice(t.start, t.end).buffer)]));
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

/** The root of the mean square of the differences, over that of the values. */
export function rootMeanSquareError(found: Float32Array | undefined, expected: Float32Array): number {
  if (!found || found.length !== expected.length) return Number.POSITIVE_INFINITY;
  let [differences, values] = [0, 0];
  for (const [i, e] of expected.entries()) {
    differences += ((found[i] ?? Number.NaN) - e) ** 2;
    values += e ** 2;
  }
  return Math.sqrt(differences / values);
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
export async function errorsOf(
  model: LoadedModel,
  fixture: Fixture,
  expectations = fixture.expected,
): Promise<Map<string, number>> {
  const errors = new Map<string, number>();
  for (const { name, samples } of fixture.cases) {
    const found = await runTaps(model, batchOf(samples));
    const rows = samples.flat().length;
    let end = 0;
    for (const [s, ids] of samples.entries()) {
      end += ids.length;
      const prefix = `${name}/${s}/`;
      for (const [key, expected] of expectations) {
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
