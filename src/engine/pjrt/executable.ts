// A compiled program on its devices. PJRT believes whatever it is given, as long as sizes in bytes agree: types, shapes and
// devices of arguments are compared with the program here.

import { SluiceError } from "../../base/errors.js";
import { PjrtBuffer, type Runtime } from "./buffer.js";
import type { PjrtDevice } from "./device.js";
import { describeSpec, dtypeOf, isSameSpec } from "./element-types.js";
import { PjrtError } from "./error.js";
import { Handle } from "./handle.js";
import { copyMemory, functionAt, readAddresses } from "./native.js";
import type { DeviceBuffer, Executable, ExecutableMemory, Execution, Program } from "./pjrt.js";
import { int64s, pointers, pointersTo, Struct } from "./struct.js";

/** What an executable needs of its client. */
export interface ExecutableRuntime extends Runtime {
  /** Runs calls one after the other, so that executions begin in the order in which they were asked for. */
  inOrder<T>(call: () => Promise<T>): Promise<T>;
}

/** An executable with its handle, which stays in this folder. */
export class PjrtExecutable implements Executable {
  readonly program: Program;
  readonly devices: readonly PjrtDevice[];
  readonly memory: ExecutableMemory | null;
  readonly #runtime: ExecutableRuntime;
  readonly #handle: Handle;

  /** Takes over the loaded executable at `address`. @throws SluiceError `bug` where its outputs are not the program's. */
  constructor(runtime: ExecutableRuntime, address: bigint, program: Program, known: readonly PjrtDevice[]) {
    const { api } = runtime;
    this.#runtime = runtime;
    this.program = program;
    const destroy = (at: bigint) => {
      api.call("PJRT_LoadedExecutable_Destroy", { executable: at });
    };
    this.#handle = new Handle("executable", address, destroy, runtime.owned);
    try {
      const listed = api.call("PJRT_LoadedExecutable_AddressableDevices", { executable: address });
      const count = listed.number("num_addressable_devices");
      this.devices = readAddresses(listed.pointer("addressable_devices"), count).map((at) => {
        const device = known.find((one) => one.address === at);
        if (!device)
          throw new SluiceError("bug", "an executable is on a device that the client does not have");
        return device;
      });
      this.memory = this.#inspect((executable) => {
        this.#checkOutputs(executable);
        return this.#readMemory(executable);
      });
    } catch (error) {
      this.release();
      throw error;
    }
  }

  async execute(args: readonly (readonly DeviceBuffer[])[]): Promise<Execution> {
    const { api, events } = this.#runtime;
    const { parameters, outputs: specs } = this.program;
    const lists = this.#checkArguments(args);
    const inUse = [this.#handle, ...lists.flat().map((buffer) => buffer.handle)];
    const addresses = lists.map((list) => pointers(list.map((buffer) => buffer.handle.address)));
    const executable = this.#handle.address;
    const outputs = lists.map(() => pointers([], specs.length));
    const done = pointers([], lists.length);
    const options = new Struct("PJRT_ExecuteOptions", {
      // All of them: no output may overwrite an input.
      non_donatable_input_indices: int64s(parameters.map((_, i) => i)),
      num_non_donatable_input_indices: parameters.length,
    });
    for (const handle of inUse) handle.beginUse();
    try {
      await this.#runtime.inOrder(() =>
        api.callOnThread("PJRT_LoadedExecutable_Execute", {
          executable,
          options,
          argument_lists: pointersTo(addresses),
          num_devices: lists.length,
          num_args: parameters.length,
          output_lists: pointersTo(outputs),
          device_complete_events: done,
        }),
      );
    } finally {
      for (const handle of inUse) handle.endUse();
    }
    const finished = this.devices.map((_, d) =>
      events.settle(done[d] ?? 0n, "PJRT_LoadedExecutable_Execute"),
    );
    const all = Promise.all(finished).then(() => {});
    all.catch(() => {}); // May be left unobserved.
    return {
      outputs: this.devices.map((device, d) =>
        specs.map((spec, i) => new PjrtBuffer(this.#runtime, outputs[d]?.[i] ?? 0n, spec, device)),
      ),
      done: all,
    };
  }

  serialize(): Uint8Array {
    return this.#inspect((executable) => {
      const args = this.#runtime.api.call("PJRT_Executable_Serialize", { executable });
      try {
        return args.copy("serialized_bytes", "serialized_bytes_size");
      } finally {
        const free = args.pointer("serialized_executable_deleter");
        if (free !== 0n) functionAt(free).now(args.pointer("serialized_executable"));
      }
    });
  }

  release(): void {
    this.#handle.release();
  }

  /** Looks at the PJRT_Executable behind the loaded one. */
  #inspect<T>(look: (executable: bigint) => T): T {
    const { api } = this.#runtime;
    const loaded = { loaded_executable: this.#handle.address };
    const executable = api.call("PJRT_LoadedExecutable_GetExecutable", loaded).pointer("executable");
    try {
      return look(executable);
    } finally {
      api.call("PJRT_Executable_Destroy", { executable });
    }
  }

  #checkArguments(args: readonly (readonly DeviceBuffer[])[]): PjrtBuffer[][] {
    const refuse = (what: string, found: unknown, expected: unknown) =>
      new SluiceError("bug", what, { found, expected: String(expected) });
    if (args.length !== this.devices.length)
      throw refuse(
        "an execution needs one list of arguments for each device",
        args.length,
        this.devices.length,
      );
    return this.devices.map((device, d) => {
      const list = args[d] ?? [];
      const { parameters } = this.program;
      if (list.length !== parameters.length)
        throw refuse("an execution has another number of arguments", list.length, parameters.length);
      return parameters.map((parameter, i) => {
        const buffer = list[i];
        if (!(buffer instanceof PjrtBuffer))
          throw refuse(`argument ${i} is no buffer`, typeof buffer, "a buffer");
        if (!isSameSpec(buffer, parameter))
          throw refuse(`argument ${i} does not fit`, describeSpec(buffer), describeSpec(parameter));
        if (buffer.device !== device)
          throw refuse(`argument ${i} is on another device`, buffer.device.id, device.id);
        return buffer;
      });
    });
  }

  /** Buffers made of outputs have the program's types and shapes: they must be the executable's. */
  #checkOutputs(executable: bigint): void {
    const { api } = this.#runtime;
    const count = api.call("PJRT_Executable_NumOutputs", { executable }).number("num_outputs");
    const types = api.call("PJRT_Executable_OutputElementTypes", { executable });
    const shapes = api.call("PJRT_Executable_OutputDimensions", { executable });
    const numbers = new Int32Array(copyMemory(types.pointer("output_types"), 4 * count).buffer);
    const ranks = readInt64s(shapes.pointer("dim_sizes"), count);
    const sizes = readInt64s(
      shapes.pointer("dims"),
      ranks.reduce((sum, rank) => sum + rank, 0),
    );
    const found = Array.from(numbers, (number, i) => {
      const from = ranks.slice(0, i).reduce((sum, rank) => sum + rank, 0);
      const shape = sizes.slice(from, from + (ranks[i] ?? 0));
      return describeSpec({ dtype: dtypeOf(number) ?? `PJRT type ${number}`, shape });
    });
    const expected = this.program.outputs.map(describeSpec);
    if (found.join() === expected.join()) return;
    const at = found.findIndex((spec, i) => spec !== expected[i]);
    throw new SluiceError("bug", "an executable gives other outputs than its program", {
      found: found.length === expected.length ? `${found[at]} as output ${at}` : `${found.length} outputs`,
      expected: found.length === expected.length ? expected[at] : String(expected.length),
    });
  }

  #readMemory(executable: bigint): ExecutableMemory | null {
    try {
      const stats = this.#runtime.api.call("PJRT_Executable_GetCompiledMemoryStats", { executable });
      return {
        arguments: stats.number("argument_size_in_bytes"),
        outputs: stats.number("output_size_in_bytes"),
        temporary: stats.number("temp_size_in_bytes"),
        code: stats.number("generated_code_size_in_bytes"),
      };
    } catch (error) {
      if (error instanceof PjrtError && error.code === "UNIMPLEMENTED") return null;
      throw error;
    }
  }
}

function readInt64s(address: bigint, count: number): number[] {
  return Array.from(new BigInt64Array(copyMemory(address, 8 * count).buffer), Number);
}
