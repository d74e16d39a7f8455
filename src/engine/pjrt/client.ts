// A runtime with its devices: compiles programs, brings tensors to devices, ends when it is told to.

import { SluiceError } from "../../base/errors.js";
import { PjrtBuffer } from "./buffer.js";
import type { PjrtApi } from "./call.js";
import { encodeCompileOptions } from "./compile-options.js";
import { PjrtDevice } from "./device.js";
import { describeSpec, elementType, sizeOf } from "./element-types.js";
import type { Events } from "./events.js";
import { type ExecutableRuntime, PjrtExecutable } from "./executable.js";
import { Handle } from "./handle.js";
import { readAddresses } from "./native.js";
import {
  type Client,
  type Device,
  type DeviceBuffer,
  devicesOf,
  type Executable,
  type Plugin,
  type Program,
  type TensorSpec,
} from "./pjrt.js";
import { allocate, int64s, Struct, textBytes } from "./struct.js";

/** PJRT_HostBufferSemantics. */
const SEMANTICS = { copy: 0, lend: 1, share: 2 } as const;

/** A client with its handle, which stays in this folder. */
export class PjrtClient implements Client, ExecutableRuntime {
  readonly plugin: Plugin;
  readonly platform: string;
  readonly platformVersion: string;
  readonly devices: readonly PjrtDevice[];
  readonly api: PjrtApi;
  readonly events: Events;
  readonly owned = new Set<Handle>();
  readonly #handle: Handle;
  #lastCall: Promise<unknown> = Promise.resolve();

  /** Takes over the client at an address, unless it throws. @throws PjrtError */
  constructor(plugin: Plugin, api: PjrtApi, events: Events, client: bigint) {
    this.plugin = plugin;
    this.api = api;
    this.events = events;
    this.platform = api
      .call("PJRT_Client_PlatformName", { client })
      .text("platform_name", "platform_name_size");
    this.platformVersion = api
      .call("PJRT_Client_PlatformVersion", { client })
      .text("platform_version", "platform_version_size");
    const listed = api.call("PJRT_Client_AddressableDevices", { client });
    this.devices = readAddresses(
      listed.pointer("addressable_devices"),
      listed.number("num_addressable_devices"),
    ).map((device) => new PjrtDevice(api, device));
    this.#handle = new Handle("client", client, () => {});
  }

  async compile(program: Program): Promise<Executable> {
    const options = this.#compileOptions(program);
    const code = textBytes(program.text);
    const format = textBytes("mlir");
    const args = await this.events.during(
      this.api.callOnThread("PJRT_Client_Compile", {
        client: this.#handle.address,
        program: new Struct("PJRT_Program", {
          code,
          code_size: code.length,
          format,
          format_size: format.length,
        }),
        compile_options: options,
        compile_options_size: options.length,
      }),
    );
    return this.#take(args.pointer("executable"), program);
  }

  async loadCompiled(bytes: Uint8Array, program: Program): Promise<Executable> {
    const options = this.#compileOptions(program);
    const serialized = allocate(Math.max(1, bytes.length));
    serialized.set(bytes);
    const args = await this.events.during(
      this.api.callOnThread("PJRT_Executable_DeserializeAndLoad", {
        client: this.#handle.address,
        serialized_executable: serialized,
        serialized_executable_size: bytes.length,
        overridden_serialized_compile_options: options,
        overridden_serialized_compile_options_size: options.length,
      }),
    );
    return this.#take(args.pointer("loaded_executable"), program);
  }

  upload(bytes: Uint8Array, spec: TensorSpec, device: Device, how: keyof typeof SEMANTICS): DeviceBuffer {
    if (!(device instanceof PjrtDevice) || !this.devices.includes(device))
      throw new SluiceError("bug", "this device is not the client's", { found: device.id });
    if (
      !spec.shape.every((size) => Number.isSafeInteger(size) && size >= 0) ||
      bytes.byteLength !== sizeOf(spec)
    )
      throw new SluiceError("bug", `the values of ${describeSpec(spec)} have another size`, {
        found: `${bytes.byteLength} bytes`,
        expected: `${sizeOf(spec)} bytes`,
      });
    const args = this.api.call("PJRT_Client_BufferFromHostBuffer", {
      client: this.#handle.address,
      data: bytes,
      type: elementType(spec.dtype),
      dims: int64s(spec.shape),
      num_dims: spec.shape.length,
      host_buffer_semantics: SEMANTICS[how],
      device: device.address,
    });
    const done = args.pointer("done_with_host_buffer");
    const buffer = args.pointer("buffer");
    if (how === "share") return new PjrtBuffer(this, buffer, spec, device, { bytes, done });
    // What is lent is referenced until the runtime has read it.
    const letGo = () => void bytes.byteLength;
    this.events.settle(done, "PJRT_Client_BufferFromHostBuffer").then(letGo, letGo);
    return new PjrtBuffer(this, buffer, spec, device);
  }

  inOrder<T>(call: () => Promise<T>): Promise<T> {
    const next = this.#lastCall.then(call, call);
    this.#lastCall = next.catch(() => {});
    return this.events.during(next);
  }

  drain(): Promise<void> {
    return this.events.drain();
  }

  async release(): Promise<void> {
    if (this.#handle.isReleased) return;
    await this.drain();
    if (this.owned.size > 0)
      throw new SluiceError("bug", "a client is released before what it made", {
        found: Array.from(this.owned, (handle) => handle.kind).join(", "),
      });
    const client = this.#handle.address;
    this.#handle.release();
    await this.events.during(this.api.callOnThread("PJRT_Client_Destroy", { client }));
  }

  /** @throws SluiceError `bug` where it is not on the program's devices: a plug-in may load it onto those that it was compiled for. */
  #take(address: bigint, program: Program): PjrtExecutable {
    const executable = new PjrtExecutable(this, address, program, this.devices);
    const ids = (devices: readonly Device[]) => devices.map((device) => device.id).join(", ");
    const [found, expected] = [ids(executable.devices), ids(devicesOf(program, this.devices))];
    if (found === expected) return executable;
    executable.release();
    throw new SluiceError("bug", "an executable is on other devices than its program", { found, expected });
  }

  #compileOptions(program: Program): Uint8Array {
    const { partitions = 1, shardings = "shardy" } = program;
    const on = devicesOf(program, this.devices);
    if (!(partitions >= 1) || on.length < partitions || on.length % partitions !== 0)
      throw new SluiceError("bug", "a program's devices are no multiple of its partitions", {
        found: `${on.length} devices, ${partitions} partitions`,
        expected: `up to ${this.devices.length} devices`,
      });
    return encodeCompileOptions({
      partitions,
      deviceIds: on.map((device) => device.id),
      useShardy: shardings === "shardy",
    });
  }
}
