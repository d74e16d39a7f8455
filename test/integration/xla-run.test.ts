// `sluice extract --engine xla` as a user runs it, beside the same run on ONNX Runtime. Needs SLUICE_TEST_PJRT_CPU.

import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { relativeError, rootMeanSquareError } from "../../src/engine/model-fixtures.suite.js";
import { openRunForReading } from "../../src/read/open-run.js";
import { readTensor } from "../../src/read/read-tensor.js";
import { openStore } from "../../src/store/stores.js";
import { hashData, runSluice, smallRun, temporaryFolder, tokenRecords, writeJsonl } from "../helpers.js";
import { CPU_PLUGIN, sayWhatIsSkipped } from "./pjrt-plugins.js";

sayWhatIsSkipped("runs on the XLA engine", "SLUICE_TEST_PJRT_CPU");
const XLA = ["--engine", "xla", "--plugin", CPU_PLUGIN ?? ""];

/** Every tensor of activations of every unit, float32, by name. */
async function readRun(output: string): Promise<Map<string, Float32Array>> {
  const run = await openRunForReading(openStore(output));
  const tensors = new Map<string, Float32Array>();
  for (const [unit, commit] of (await run.log.readAll()).entries())
    for (const name of Object.keys(commit.tensors).filter((n) => n.startsWith("blocks.")))
      tensors.set(
        `${unit} ${name}`,
        new Float32Array((await readTensor(run.store, commit, name)).slice().buffer),
      );
  return tensors;
}

describe.skipIf(!CPU_PLUGIN)("a run on XLA", () => {
  it("has the identity and the values of one on ONNX Runtime, and compiles nothing twice", async () => {
    const folder = await temporaryFolder();
    const dataset = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(40));
    const env = { XDG_CACHE_HOME: join(folder, "cache") };
    const extract = async (name: string, ...flags: string[]) => {
      const flagsOfAll = ["--layers", "all", "--dtype", "float32", "--json", ...flags];
      const ended = await runSluice(smallRun(dataset, join(folder, name), ...flagsOfAll), env);
      expect(ended.stderr).not.toContain("Error");
      expect(ended.code, ended.stderr).toBe(0);
      return JSON.parse(ended.stdout).run as string;
    };
    const onnx = await extract("onnx", "--engine", "onnx");
    expect(await extract("xla", ...XLA)).toBe(onnx);
    const executables = join(env.XDG_CACHE_HOME, "sluice", "executables");
    const compiled = await readdir(executables);
    expect(compiled.length).toBeGreaterThan(1);
    await extract("again", ...XLA);
    expect(await readdir(executables)).toEqual(compiled);
    expect(await hashData(join(folder, "again"))).toEqual(await hashData(join(folder, "xla")));

    const expected = await readRun(join(folder, "onnx"));
    const found = await readRun(join(folder, "xla"));
    expect(expected.size).toBeGreaterThan(3);
    for (const [name, values] of expected)
      expect(rootMeanSquareError(found.get(name), values), name).toBeLessThan(1e-5);

    // Devices that share the model: the same run, computed in another way.
    expect(await extract("shared", ...XLA, "--tensor-parallel", "2")).toBe(onnx);
    const shared = await readRun(join(folder, "shared"));
    for (const [name, values] of found)
      expect(relativeError(shared.get(name), values), name).toBeLessThan(1e-4);
    const sharedRun = await openRunForReading(openStore(join(folder, "shared")));
    expect((await sharedRun.log.readAll())[0]?.execution).toMatchObject({ devices: 2, tensor_parallel: 2 });

    expect(await extract("narrow", ...XLA, "--compute-dtype", "bfloat16")).not.toBe(onnx);
    const narrow = await readRun(join(folder, "narrow"));
    const errors = [...expected].map(([name, values]) => rootMeanSquareError(narrow.get(name), values));
    expect(Math.max(...errors)).toBeLessThan(2e-2);
    expect(Math.min(...errors)).toBeGreaterThan(1e-4);

    const verified = await runSluice(["verify", join(folder, "xla"), "--deep", "--json"]);
    expect(JSON.parse(verified.stdout)).toMatchObject({ complete: true, samples: 40, corrupt: [] });
    const run = await openRunForReading(openStore(join(folder, "xla")));
    expect((await run.log.readAll())[0]?.execution).toMatchObject({
      engine: "xla",
      platform: "cpu",
      devices: 1,
      compute: "float32",
    });
    // Another compute dtype is another run.
    const refused = await runSluice(
      smallRun(
        dataset,
        join(folder, "onnx"),
        "--layers",
        "all",
        "--dtype",
        "float32",
        ...XLA,
        "--compute-dtype",
        "bfloat16",
      ),
      env,
    );
    expect(refused.code).toBe(78);
    expect(refused.stderr).toContain('compute_dtype: the run has "float32", this command "bfloat16"');
  });

  it("says what is wrong with a plug-in that is none", async () => {
    const folder = await temporaryFolder();
    const dataset = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(2));
    const ended = await runSluice(
      smallRun(dataset, join(folder, "run"), "--engine", "xla", "--plugin", dataset),
    );
    expect(ended.code).toBe(78);
    expect(ended.stderr).toContain("cannot be used as a PJRT plug-in");
  });
});
