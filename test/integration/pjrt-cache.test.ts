// The cache of executables: hit, miss, torn, foreign, unwritable. On the real CPU plug-in.

import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { compileCached } from "../../src/engine/pjrt/executable-cache.js";
import { liveObjects } from "../../src/engine/pjrt/handle.js";
import type { Client, Program, TensorSpec } from "../../src/engine/pjrt/pjrt.js";
import { openPlugin } from "../../src/engine/pjrt/plugin.js";
import { CPU_PLUGIN, sayWhatIsSkipped } from "./pjrt-plugins.js";

sayWhatIsSkipped("the cache of executables", "SLUICE_TEST_PJRT_CPU");

const spec: TensorSpec = { dtype: "float32", shape: [4] };
const plus = (value: string): Program => ({
  text: `func.func public @main(%x: tensor<4xf32>) -> tensor<4xf32> {
    %one = stablehlo.constant dense<${value}> : tensor<4xf32>
    %0 = stablehlo.add %x, %one : tensor<4xf32>
    return %0 : tensor<4xf32> }`,
  parameters: [spec],
  outputs: [spec],
});

describe.skipIf(!CPU_PLUGIN)("the cache of executables", () => {
  const root = mkdtempSync(join(tmpdir(), "sluice-executables-"));
  let client: Client;
  let folder = "";
  let count = 0;

  beforeAll(async () => {
    client = await (await openPlugin(CPU_PLUGIN ?? "")).createClient({ cpuDevices: 2 });
  });
  beforeEach(() => {
    folder = join(root, `cache-${count++}`, "executables");
  });
  afterAll(async () => {
    await client.release();
    expect(liveObjects()).toEqual({ client: 0, executable: 0, buffer: 0, event: 0 });
    rmSync(root, { recursive: true });
  });

  /** Whether it came from the cache, and what it makes of 1. */
  async function run(program: Program): Promise<[boolean, number | undefined]> {
    const { executable, isCached } = await compileCached(client, program, folder);
    const ones = new Uint8Array(new Float32Array(4).fill(1).buffer);
    const [device] = executable.devices;
    const x = client.upload(ones, spec, device ?? expect.unreachable(), "copy");
    const { outputs } = await executable.execute([[x]]);
    const [y] = outputs[0] ?? [];
    const values = new Float32Array((await y?.toHost())?.slice().buffer ?? new ArrayBuffer());
    for (const buffer of [x, y]) buffer?.release();
    executable.release();
    return [isCached, values[0]];
  }

  it("keeps each program by itself, for whichever device, and for this user alone", async () => {
    expect(await run(plus("1.0"))).toEqual([false, 2]);
    expect(await run(plus("1.0"))).toEqual([true, 2]);
    expect(await run(plus("2.0"))).toEqual([false, 3]);
    expect(await run({ ...plus("2.0"), devices: client.devices.slice(1) })).toEqual([true, 3]);
    expect(readdirSync(folder).length).toBe(2);
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    for (const name of readdirSync(folder)) expect(statSync(join(folder, name)).mode & 0o777).toBe(0o600);
  });

  it.each(["NPROC", "XLA_FLAGS", "LIBTPU_INIT_ARGS"])(
    "keeps apart what another %s compiles",
    async (name) => {
      const before = process.env[name];
      try {
        expect(await run(plus("1.0"))).toEqual([false, 2]);
        process.env[name] = name === "NPROC" ? "7" : "--xla_cpu_enable_fast_math=false";
        expect(await run(plus("1.0"))).toEqual([false, 2]);
        expect(await run(plus("1.0"))).toEqual([true, 2]);
      } finally {
        if (before === undefined) delete process.env[name];
        else process.env[name] = before;
      }
    },
  );

  it.each([
    ["is torn", (bytes: Buffer) => bytes.subarray(0, bytes.length - 9)],
    [
      "has a wrong byte",
      (bytes: Buffer) => Buffer.from(bytes.map((byte, i) => (i === 900 ? byte ^ 1 : byte))),
    ],
    ["is empty", () => Buffer.alloc(0)],
    ["is something else", () => Buffer.from("{}\nnothing")],
  ])("compiles again where an entry %s, and mends it", async (_, damage) => {
    await run(plus("1.0"));
    const [name = ""] = readdirSync(folder);
    writeFileSync(join(folder, name), damage(readFileSync(join(folder, name))));
    expect(await run(plus("1.0"))).toEqual([false, 2]);
    expect(await run(plus("1.0"))).toEqual([true, 2]);
  });

  it("does not take another program's entry", async () => {
    await run(plus("1.0"));
    const [first = ""] = readdirSync(folder);
    await run(plus("2.0"));
    const second = readdirSync(folder).find((name) => name !== first) ?? "";
    writeFileSync(join(folder, second), readFileSync(join(folder, first)));
    expect(await run(plus("2.0"))).toEqual([false, 3]);
  });

  it("goes without where the folder cannot be used", async () => {
    const file = join(root, "a-file");
    writeFileSync(file, "");
    folder = join(file, "executables");
    expect(await run(plus("1.0"))).toEqual([false, 2]);
    folder = join(root, "read-only");
    await run(plus("1.0"));
    chmodSync(folder, 0o755);
    expect(await run(plus("1.0"))).toEqual([true, 2]);
    expect(statSync(folder).mode & 0o777).toBe(0o700);
  });
});
