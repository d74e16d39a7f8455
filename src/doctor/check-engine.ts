// The engine, as a worker runs it: in a child process, on the small model that ships with the project. Its numbers are compared with those
// of the reference engine, which is plain TypeScript.

import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isSluiceError, messageOf } from "../base/errors.js";
import { createEngine } from "../engine/engines.js";
import { hookPoints } from "../model/hooks.js";
import { buildGraph, openModel } from "../model/model.js";
import type { UnitJob } from "../run/compute-unit.js";
import { EngineProcess } from "../run/engine-process.js";
import { type Finding, findingsOf } from "./finding.js";

const { ok, failure } = findingsOf("engine");
const TOKENS = Int32Array.from({ length: 12 }, (_, i) => (i * 37 + 3) % 97);
/** Of a tensor's largest value: engines agree to 1e-5 on every fixture of the tests. */
const TOLERANCE = 1e-4;
const INSTALL =
  "Install again on this machine (npm ci); on another kind of processor or C library, name another --engine.";

/** An engine by its name, and what it needs. */
export interface CheckedEngine {
  readonly engine: string;
  readonly plugin: string | null;
  readonly threads: number;
}

/** Runs an engine. @param folder of the bundled model. */
export async function checkEngine(
  { engine, plugin, threads }: CheckedEngine,
  folder: string,
): Promise<Finding> {
  const scratch = await mkdtemp(join(tmpdir(), "sluice-doctor-"));
  try {
    const checkpoint = await openModel(folder);
    const points = hookPoints(checkpoint.shape.build);
    const wanted = {
      taps: points.map((point) => point.name),
      selection: "rows",
      tapDType: "float32",
    } as const;
    const widths = points.map(({ rowShape }) => rowShape.reduce((product, n) => product * n, 1));
    const rows = TOKENS.length;
    const starts = widths.map((_, i) => 4 * rows * widths.slice(0, i).reduce((sum, width) => sum + width, 0));
    const spool = join(scratch, "rows");
    await writeFile(spool, new Uint8Array(4 * rows * widths.reduce((sum, width) => sum + width, 0)), {
      mode: 0o600,
    });
    const runner = new EngineProcess({
      engine,
      plugin,
      threads,
      weights: "packed",
      model: folder,
      adapter: null,
      ...wanted,
    });
    const started = performance.now();
    const execution = await runner.start();
    try {
      await runner.compute(jobOf(wanted.taps, widths, starts), spool);
    } finally {
      await runner.stop();
    }
    const seconds = (performance.now() - started) / 1000;
    const found = await readFile(spool);
    const reference = createEngine("reference", { threads: 1, weights: "packed" });
    const model = await reference.load(buildGraph(checkpoint, wanted), checkpoint.weights);
    const expected = await model.run({
      samples: 1,
      length: rows,
      tokens: TOKENS,
      lengths: Int32Array.of(rows),
      rows: Int32Array.from(TOKENS.keys()),
    });
    let worst = 0;
    for (const [i, { data }] of expected.entries())
      worst = Math.max(
        worst,
        difference(floatsOf(found.subarray(starts[i], (starts[i] ?? 0) + data.length)), floatsOf(data)),
      );
    await model.close();
    const name = `${engine} ${String(execution.version ?? "")}`.trim();
    if (worst <= TOLERANCE)
      return ok(
        `${name} loads and computes a small model in ${seconds.toFixed(1)} s; it agrees with the reference to ${worst.toExponential(0)}`,
        { ...execution },
      );
    return failure(
      `${name} computes other numbers than the reference: they differ by ${worst.toExponential(1)} of the largest`,
      INSTALL,
    );
  } catch (error) {
    if (isSluiceError(error, "bug")) throw error;
    return failure(`${engine} does not run here: ${messageOf(error)}`, INSTALL);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

function jobOf(taps: readonly string[], widths: readonly number[], starts: readonly number[]): UnitJob {
  const length = TOKENS.length;
  return {
    inputIds: TOKENS,
    inputOffsets: Int32Array.of(0, length),
    positions: Int32Array.from(TOKENS.keys()),
    positionOffsets: Int32Array.of(0, length),
    owners: Int32Array.of(0),
    batches: [{ samples: [0], length, computed: length }],
    reduced: false,
    activations: taps.map((name, i) => ({ name, width: widths[i] ?? 0, dtype: "float32" })),
    places: Float64Array.from(starts),
  };
}

function floatsOf(bytes: Uint8Array): Float32Array {
  return new Float32Array(Uint8Array.from(bytes).buffer);
}

/** The largest difference over the largest value; NaN counts as infinitely wrong. */
function difference(found: Float32Array, expected: Float32Array): number {
  let most = 0;
  let top = Number.MIN_VALUE;
  for (const [i, value] of expected.entries()) {
    const apart = Math.abs((found[i] ?? Number.NaN) - value);
    most = Number.isNaN(apart) ? Number.POSITIVE_INFINITY : Math.max(most, apart);
    top = Math.max(top, Math.abs(value));
  }
  return most / top;
}
