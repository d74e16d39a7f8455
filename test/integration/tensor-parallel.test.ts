// Devices that share a model (--tensor-parallel), on a CPU plug-in that shows four: every family beside PyTorch's tensors, order over
// two groups, and that each device holds its part of the weights alone. Needs SLUICE_TEST_PJRT_CPU.

import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { z } from "zod";
import { weightBytesOnDevice } from "../../src/engine/device-memory.js";
import {
  batchOf,
  errorsOf,
  FIXTURES,
  type Fixture,
  graphOf,
  loadAll,
  readFixture,
  relativeError,
  runTaps,
} from "../../src/engine/model-fixtures.suite.js";
import { sizeOf } from "../../src/engine/pjrt/element-types.js";
import { liveObjects } from "../../src/engine/pjrt/handle.js";
import { openPlugin } from "../../src/engine/pjrt/plugin.js";
import { xlaEngine } from "../../src/engine/xla.js";
import { groupDevices } from "../../src/engine/xla-groups.js";
import { XlaPrograms } from "../../src/engine/xla-programs.js";
import { prepareModel } from "../../src/engine/xla-source.js";
import { uploadWeights } from "../../src/engine/xla-weights.js";
import { openModel } from "../../src/model/model.js";
import { CPU_PLUGIN, sayWhatIsSkipped } from "./pjrt-plugins.js";

const plugin = CPU_PLUGIN ?? "";
sayWhatIsSkipped("devices that share a model", "SLUICE_TEST_PJRT_CPU");

/** The first fixture of each family, and those whose heads are odd: so many devices cannot divide them. */
const typeOf = (name: string) => {
  const text = readFileSync(join(readFixture(name).folder, "config.json"), "utf8");
  return z.object({ model_type: z.string() }).parse(JSON.parse(text)).model_type;
};
const CHOSEN = FIXTURES.filter(
  (name, i) => name.includes("odd") || FIXTURES.findIndex((other) => typeOf(other) === typeOf(name)) === i,
);

/** Of a fixture two cases, for two programs to compile: `one` has every hook point, `long` several blocks of attention, `batch` unequal lengths. */
function readShort(name: string): Fixture {
  const fixture = readFixture(name);
  const second = fixture.cases.some(({ name }) => name === "long") ? "long" : "batch";
  return { ...fixture, cases: fixture.cases.filter(({ name }) => name === "one" || name === second) };
}

describe.skipIf(plugin === "")("devices that share a model", () => {
  const cache = mkdtempSync(join(tmpdir(), "sluice-tensor-parallel-"));
  process.env.XDG_CACHE_HOME = cache;
  afterAll(() => rmSync(cache, { recursive: true }));
  afterEach(() => expect(liveObjects()).toEqual({ client: 0, executable: 0, buffer: 0, event: 0 }));

  /** The files in the cache: one that is written again has another inode. */
  const executables = () => {
    const folder = join(cache, "sluice", "executables");
    return readdirSync(folder).map((name) => `${name} ${statSync(join(folder, name)).ino}`);
  };
  const engineOf = (tensorParallel: number, cpuDevices = 4, compute: "float32" | "bfloat16" = "float32") =>
    xlaEngine({ plugin, compute, threads: 2, cpuDevices, tensorParallel });

  it.each(CHOSEN.map((name, i) => [name, i % 2 === 0 ? 2 : 4] as const))(
    "agree with PyTorch in every hook point: %s on groups of %d",
    async (name, devices) => {
      const fixture = readShort(name);
      const model = await loadAll(engineOf(devices), await openModel(fixture.folder));
      const errors = await errorsOf(model, fixture);
      await model.close();
      expect(errors.size).toBeGreaterThan(20);
      expect([...errors].filter(([, error]) => !(error < 1e-4))).toEqual([]);
    },
  );

  it.each([
    ["qwen2-two-kv-heads", 4],
    ["phi3", 2],
  ])("agree with PyTorch in bfloat16 (%s on groups of %d)", async (name, devices) => {
    const fixture = readShort(name);
    const model = await loadAll(engineOf(devices, 4, "bfloat16"), await openModel(fixture.folder));
    const errors = await errorsOf(model, fixture, fixture.expectedBfloat16);
    await model.close();
    expect([...errors].filter(([, error]) => !(error < 2e-2))).toEqual([]);
    expect(Math.max(...errors.values())).toBeGreaterThan(1e-3);
  });

  it("take batches in turn, group by group, and give the same rows in the same order", async () => {
    const checkpoint = await openModel(readFixture("qwen3-window").folder);
    const [two, one, alone] = [
      await loadAll(engineOf(2, 4), checkpoint),
      await loadAll(engineOf(2, 2), checkpoint),
      await loadAll(engineOf(1, 1), checkpoint),
    ];
    expect([two.ahead, one.ahead]).toEqual([2, 1]);
    expect(two.execution).toMatchObject({ devices: 4, tensor_parallel: 2 });
    expect(alone.execution).not.toHaveProperty("tensor_parallel");
    const batches = Array.from({ length: 7 }, (_, b) =>
      batchOf([0, 1].map((s) => Array.from({ length: 9 + s }, (_, i) => (7 * b + 13 * i + s) % 67))),
    );
    const together = [await runTaps(two, batches[0] ?? expect.unreachable())];
    const compiled = executables();
    together.push(...(await Promise.all(batches.slice(1, 5).map((batch) => runTaps(two, batch)))));
    for (const batch of batches.slice(5)) together.push(await runTaps(two, batch));
    // One shape, which the other group has loaded as the first one left it.
    expect(compiled.length).toBeGreaterThan(0);
    expect(executables()).toEqual(compiled);
    for (const [b, batch] of batches.entries()) {
      const [expected, near] = [await runTaps(one, batch), await runTaps(alone, batch)];
      expect(expected.size).toBeGreaterThan(10);
      for (const [hook, values] of expected)
        expect(together[b]?.get(hook), `batch ${b}, ${hook}`).toEqual(values);
      for (const [hook, values] of near) expect(relativeError(expected.get(hook), values)).toBeLessThan(1e-4);
    }
    for (const model of [two, one, alone]) await model.close();
  });

  it.each([1, 2, 4])("hold their part of the weights, and of what is given back (%d)", async (devices) => {
    const client = await (await openPlugin(plugin)).createClient({ cpuDevices: 4 });
    const checkpoint = await openModel(readFixture("gpt2").folder);
    const source = prepareModel(graphOf(checkpoint), checkpoint.weights, {
      compute: "float32",
      tensorParallel: devices,
    });
    const programs = new XlaPrograms(client, source);
    const shape = { samples: 4, length: 16, rows: 64 };
    const [group = []] = groupDevices(client.devices, devices);
    const { executable, outputs } = await programs.use(shape, group, async (program) => program);
    const weights = weightBytesOnDevice(programs.parameters, devices);
    const batch = 4 * (64 + 64);
    // XLA aligns each argument.
    const memory = executable.memory ?? expect.unreachable();
    expect(memory.arguments).toBeGreaterThanOrEqual(weights + batch);
    expect(memory.arguments).toBeLessThan(weights + batch + 64 * (programs.parameters.length + 2));
    const given = outputs.reduce((sum, { rows, width }) => sum + 4 * rows * width, 0);
    expect(memory.outputs / (given / devices)).toBeCloseTo(1, 1);
    // Its position embeddings and norms are on every device.
    const whole = sizeOf(programs.parameters.find((p) => p.name === "wpe.weight") ?? expect.unreachable());
    const all = weightBytesOnDevice(programs.parameters, 1);
    expect((weights - whole) / (all - whole)).toBeLessThan(1.1 / devices);
    const lists = await uploadWeights(client, group, programs.parameters, source);
    const sizes = lists.map((list) => list.reduce((sum, buffer) => sum + sizeOf(buffer), 0));
    expect(sizes).toEqual(Array.from({ length: devices }, () => weights));
    for (const buffer of lists.flat()) buffer.release();
    await programs.release();
    await client.release();
  });

  it("are refused where some would be left over", async () => {
    const checkpoint = await openModel(readFixture("gpt2").folder);
    await expect(loadAll(engineOf(3), checkpoint)).rejects.toMatchObject({
      kind: "usage",
      message: expect.stringMatching(
        /--tensor-parallel does not divide .*; found --tensor-parallel 3; expected 1, 2, 4: there are 4 devices/,
      ),
    });
    await expect(loadAll(engineOf(8), checkpoint)).rejects.toThrow(/found --tensor-parallel 8/);
  });
});
