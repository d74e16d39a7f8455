// The PJRT binding on the real CPU plug-in: values, order, several devices, refusals, and that nothing is left over.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { PjrtError } from "../../src/engine/pjrt/error.js";
import { liveObjects } from "../../src/engine/pjrt/handle.js";
import { alignedBytes, isAligned, mapFile } from "../../src/engine/pjrt/host-memory.js";
import type {
  Client,
  Device,
  DeviceBuffer,
  Executable,
  Program,
  TensorSpec,
} from "../../src/engine/pjrt/pjrt.js";
import { openPlugin } from "../../src/engine/pjrt/plugin.js";
import { CPU_PLUGIN, sayWhatIsSkipped } from "./pjrt-plugins.js";

sayWhatIsSkipped("the PJRT binding on a real plug-in", "SLUICE_TEST_PJRT_CPU");

const folder = mkdtempSync(join(tmpdir(), "sluice-pjrt-"));
afterAll(() => rmSync(folder, { recursive: true }));

const f32 = (...shape: number[]): TensorSpec => ({ dtype: "float32", shape });
const floats = (...values: number[]) => new Uint8Array(Float32Array.from(values).buffer);
const readFloats = (bytes: Uint8Array) => Array.from(new Float32Array(bytes.slice().buffer));

/** a b, and a transposed. */
const PRODUCT: Program = {
  text: `module @product {
    func.func public @main(%a: tensor<2x3xf32>, %b: tensor<3x2xf32>) -> (tensor<2x2xf32>, tensor<3x2xf32>) {
      %0 = stablehlo.dot_general %a, %b, contracting_dims = [1] x [0] : (tensor<2x3xf32>, tensor<3x2xf32>) -> tensor<2x2xf32>
      %1 = stablehlo.transpose %a, dims = [1, 0] : (tensor<2x3xf32>) -> tensor<3x2xf32>
      return %0, %1 : tensor<2x2xf32>, tensor<3x2xf32>
    }
  }`,
  parameters: [f32(2, 3), f32(3, 2)],
  outputs: [f32(2, 2), f32(3, 2)],
};

/** x + 1, of a size that takes a while. */
const N = 262_144;
const INCREMENT: Program = {
  text: `module @increment { func.func public @main(%x: tensor<${N}xf32>) -> tensor<${N}xf32> {
    %one = stablehlo.constant dense<1.0> : tensor<${N}xf32>
    %0 = stablehlo.add %x, %one : tensor<${N}xf32>
    return %0 : tensor<${N}xf32> } }`,
  parameters: [f32(N)],
  outputs: [f32(N)],
};

describe.skipIf(!CPU_PLUGIN)("the PJRT binding", () => {
  let client: Client;
  let device: Device;
  let other: Device;

  beforeAll(async () => {
    const plugin = await openPlugin(CPU_PLUGIN ?? "");
    expect(plugin.apiVersion).toMatch(/^0\.\d+$/);
    expect(plugin.stablehloVersion).toMatch(/^1\.\d+\.\d+$/);
    expect(await openPlugin(CPU_PLUGIN ?? "")).toBe(plugin);
    client = await plugin.createClient({ cpuDevices: 4 });
    [device, other] = client.devices as [Device, Device];
  });
  afterAll(async () => {
    await client.release();
    expect(liveObjects()).toEqual({ client: 0, executable: 0, buffer: 0, event: 0 });
  });
  afterEach(async () => {
    await client.drain();
    expect(liveObjects()).toEqual({ client: 1, executable: 0, buffer: 0, event: 0 });
  });

  const upload = (spec: TensorSpec, values: Uint8Array, on = device) =>
    client.upload(values, spec, on, "copy");

  async function runProduct(executable: Executable): Promise<number[][][]> {
    const args = executable.devices.map((on, d) => [
      upload(f32(2, 3), floats(1, 2, 3, 4, 5, 6 + d), on),
      upload(f32(3, 2), floats(1, 0, 0, 1, 1, 1), on),
    ]);
    const { outputs, done } = await executable.execute(args);
    for (const buffer of args.flat()) buffer.release();
    const values = await Promise.all(
      outputs.map((list) => Promise.all(list.map(async (buffer) => readFloats(await buffer.toHost())))),
    );
    for (const buffer of outputs.flat()) buffer.release();
    await done;
    executable.release();
    return values;
  }

  /** What runProduct gives on the d-th device. */
  const product = (d: number) => [
    [4, 5, 10 + d, 11 + d],
    [1, 4, 2, 5, 3, 6 + d],
  ];

  it("computes, on the device that is asked for and on all at once", async () => {
    expect(client.platform).toBe("cpu");
    expect(client.devices.map((one) => one.id)).toEqual([0, 1, 2, 3]);
    expect(await runProduct(await client.compile(PRODUCT))).toEqual([product(0)]);
    const onOther = await client.compile({ ...PRODUCT, devices: [other] });
    expect(onOther.devices).toEqual([other]);
    expect(await runProduct(onOther)).toEqual([product(0)]);
    const onAll = await client.compile({ ...PRODUCT, devices: client.devices });
    expect(onAll.devices).toEqual(client.devices);
    expect(await runProduct(onAll)).toEqual([0, 1, 2, 3].map(product));
  });

  it("loads what was serialized, also on another device, and refuses other bytes and other outputs", async () => {
    const executable = await client.compile(PRODUCT);
    const bytes = executable.serialize();
    executable.release();
    expect(await runProduct(await client.loadCompiled(bytes, PRODUCT))).toEqual([product(0)]);
    const moved = await client.loadCompiled(bytes, { ...PRODUCT, devices: [other] });
    expect(moved.devices).toEqual([other]);
    expect(await runProduct(moved)).toEqual([product(0)]);
    for (const bad of [new Uint8Array(), bytes.subarray(0, 100), bytes.map((byte) => byte ^ 255)])
      await expect(client.loadCompiled(bad, PRODUCT)).rejects.toMatchObject({ name: "PjrtError" });
    await expect(client.loadCompiled(bytes, INCREMENT)).rejects.toThrow("other outputs");
  });

  it("refuses an executable that the plug-in has loaded onto other devices than it was told to", async () => {
    const executable = await client.compile(PRODUCT);
    const bytes = executable.serialize();
    executable.release();
    // Such a plug-in is a program that asks for one device and is then found to mean another.
    let asked = 0;
    const program = {
      ...PRODUCT,
      get devices() {
        return asked++ === 0 ? [device] : [other];
      },
    };
    await expect(client.loadCompiled(bytes, program)).rejects.toThrow("found 0; expected 1");
  });

  it.each([
    [
      "shardy",
      'sdy.mesh @mesh = <["x"=4]>',
      '{sdy.sharding = #sdy.sharding<@mesh, [{}, {"x"}]>}',
      '{sdy.sharding = #sdy.sharding<@mesh, [{"x"}, {}]>}',
      "{sdy.sharding = #sdy.sharding<@mesh, [{}, {}]>}",
    ],
    [
      "gspmd",
      "",
      '{mhlo.sharding = "{devices=[1,4]<=[4]}"}',
      '{mhlo.sharding = "{devices=[4,1]<=[4]}"}',
      '{mhlo.sharding = "{replicated}"}',
    ],
  ] as const)(
    "splits one computation over devices, with shardings of %s",
    async (shardings, mesh, columns, rows, whole) => {
      const executable = await client.compile({
        text: `module @split attributes {mhlo.num_partitions = 4 : i32, mhlo.num_replicas = 1 : i32} {
        ${mesh}
        func.func public @main(%a: tensor<2x8xf32> ${columns}, %b: tensor<8x2xf32> ${rows}) -> (tensor<2x2xf32> ${whole}) {
          %0 = stablehlo.dot_general %a, %b, contracting_dims = [1] x [0] : (tensor<2x8xf32>, tensor<8x2xf32>) -> tensor<2x2xf32>
          return %0 : tensor<2x2xf32>
        }
      }`,
        parameters: [f32(2, 2), f32(2, 2)],
        outputs: [f32(2, 2)],
        partitions: 4,
        shardings,
      });
      // a is [0..7; 8..15], by columns; b is all ones in the first column, all twos in the second.
      const args = executable.devices.map((on, d) => [
        upload(f32(2, 2), floats(2 * d, 2 * d + 1, 8 + 2 * d, 9 + 2 * d), on),
        upload(f32(2, 2), floats(1, 2, 1, 2), on),
      ]);
      const { outputs } = await executable.execute(args);
      for (const list of outputs) {
        expect(list.length).toBe(1);
        for (const buffer of list) expect(readFloats(await buffer.toHost())).toEqual([28, 56, 92, 184]);
      }
      for (const buffer of [...args.flat(), ...outputs.flat()]) buffer.release();
      executable.release();
    },
  );

  it("chains executions without waiting, while outputs are copied and buffers released", async () => {
    const executable = await client.compile(INCREMENT);
    const copies: Promise<Uint8Array>[] = [];
    let x: DeviceBuffer = upload(f32(N), new Uint8Array(4 * N));
    for (let i = 0; i < 64; i++) {
      const { outputs } = await executable.execute([[x]]);
      x.release();
      x = outputs[0]?.[0] as DeviceBuffer;
      copies.push(x.toHost());
    }
    x.release();
    for (const [i, copy] of copies.entries()) {
      const values = new Float32Array((await copy).slice().buffer);
      expect([values[0], values[N - 1]]).toEqual([i + 1, i + 1]);
    }
    executable.release();
  });

  it("runs executions in the order of their calls", async () => {
    const executable = await client.compile(INCREMENT);
    const x = upload(f32(N), new Uint8Array(4 * N));
    const order: number[] = [];
    await Promise.all(
      [0, 1, 2, 3].map(async (i) => {
        const { outputs } = await executable.execute([[x]]);
        order.push(i);
        for (const buffer of outputs.flat()) buffer.release();
      }),
    );
    expect(order).toEqual([0, 1, 2, 3]);
    x.release();
    executable.release();
  });

  it("reads shared memory in place, copies from where the caller may write again, and maps files", async () => {
    const executable = await client.compile(INCREMENT);
    const file = join(folder, "values");
    const values = new Uint8Array(Float32Array.from({ length: N }, (_, i) => i).buffer);
    writeFileSync(file, Buffer.concat([Buffer.alloc(1024), values]));
    const mapped = await mapFile(file, 1024, 4 * N);
    expect(isAligned(mapped)).toBe(true);
    expect(isAligned(await mapFile(file, 1028, 8))).toBe(false);
    const aligned = alignedBytes(4 * N);
    const [copied, lent] = [new Uint8Array(4 * N), alignedBytes(4 * N)];
    const buffers = [
      client.upload(mapped, f32(N), device, "share"),
      client.upload(aligned, f32(N), device, "share"),
      client.upload(aligned, f32(N), device, "share"),
      client.upload(copied, f32(N), device, "copy"),
      client.upload(lent, f32(N), device, "lend"),
    ];
    await client.drain(); // What was lent has been read.
    const change = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset).setFloat32(0, 7, true);
    change(aligned); // Seen: it is read in place.
    change(copied); // Not seen.
    change(lent);
    const first: (number | undefined)[] = [];
    for (const buffer of buffers) {
      const { outputs } = await executable.execute([[buffer]]);
      const [out] = outputs[0] ?? [];
      first.push(readFloats((await out?.toHost()) ?? new Uint8Array())[0]);
      out?.release();
      buffer.release();
    }
    expect(first).toEqual([1, 8, 8, 1, 1]);
    executable.release();
    await expect(mapFile(file, 0, 10 ** 9)).rejects.toThrow("too short");
  });

  it("refuses what does not fit before the plug-in sees it", async () => {
    const executable = await client.compile(PRODUCT);
    const a = upload(f32(2, 3), floats(1, 2, 3, 4, 5, 6));
    const b = upload(f32(3, 2), floats(1, 2, 3, 4, 5, 6));
    const ints = upload({ dtype: "int32", shape: [3, 2] }, new Uint8Array(24));
    const elsewhere = upload(f32(3, 2), new Uint8Array(24), other);
    const refused = async (args: readonly (readonly DeviceBuffer[])[], why: string) =>
      expect(executable.execute(args)).rejects.toThrow(why);
    await refused([[b, a]], "found float32[3, 2]; expected float32[2, 3]");
    await refused([[a, ints]], "found int32[3, 2]; expected float32[3, 2]");
    await refused([[a, elsewhere]], "argument 1 is on another device");
    await refused([[a]], "another number of arguments");
    await refused([], "one list of arguments for each device");
    expect(() => upload(f32(3, 2), new Uint8Array(20))).toThrow("found 20 bytes; expected 24 bytes");
    expect(() => upload(f32(-3, -2), new Uint8Array(24))).toThrow("another size");
    await expect(a.toHost(new Uint8Array(20))).rejects.toThrow("another size");
    b.release();
    await refused([[a, b]], "this buffer was released");
    await expect(b.toHost()).rejects.toThrow("released");
    await expect(client.release()).rejects.toThrow("before what it made");
    for (const buffer of [a, b, ints, elsewhere]) buffer.release();
    executable.release();
    executable.release();
    await expect(client.compile({ ...PRODUCT, partitions: 0 })).rejects.toThrow("multiple of its partitions");
    await expect(client.compile({ ...PRODUCT, partitions: 8 })).rejects.toThrow("multiple of its partitions");
    await expect(client.compile({ ...PRODUCT, outputs: [f32(2, 2)] })).rejects.toThrow("other outputs");
    await expect(client.compile({ ...PRODUCT, outputs: [f32(2, 2), f32(2, 3)] })).rejects.toThrow(
      "found float32[3, 2] as output 1; expected float32[2, 3]",
    );
  });

  it("gives the plug-in's words for a text that it cannot read", async () => {
    const error: PjrtError = await client.compile({ ...PRODUCT, text: "module {\n  nonsense\n}" }).then(
      () => expect.unreachable(),
      (thrown: PjrtError) => thrown,
    );
    expect(error.operation).toBe("PJRT_Client_Compile");
    expect(error.reason).toMatch(/2:3: error:/);
    expect(error.name).toBe("PjrtError");
  });

  it("is not disturbed by options out of range", async () => {
    await expect(client.plugin.createClient({ cpuDevices: 0 })).rejects.toThrow("cpuDevices is out of range");
    await expect(client.plugin.createClient({ cpuDevices: 1.5 })).rejects.toThrow(
      "cpuDevices is out of range",
    );
    await expect(client.plugin.createClient({ memoryFraction: 2 })).rejects.toThrow("memoryFraction");
  });
});
