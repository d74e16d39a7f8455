// The seam to accelerators: an OpenXLA plug-in (CPU, CUDA, TPU) through its PJRT C API, without Python and without C of our
// own. These interfaces are all that leaves this folder: no pointer does. Whoever holds an object releases it; an event is
// awaited by a promise. PJRT checks arguments by their size in bytes alone, so shapes and types are checked here.

import type { DType } from "../../base/dtype.js";

/** What a tensor is; its elements lie densely, the last dimension fastest. */
export interface TensorSpec {
  readonly dtype: DType;
  /** Empty for a scalar. */
  readonly shape: readonly number[];
}

/** A plug-in, loaded and initialised. It stays loaded until the process ends. */
export interface Plugin {
  /** The library's path. */
  readonly file: string;
  /** Version of the PJRT C API, such as `0.115`. */
  readonly apiVersion: string;
  /** The newest StableHLO that it reads, such as `1.20.0`; undefined where it does not say. */
  readonly stablehloVersion: string | undefined;
  /** The oldest StableHLO that it reads, such as `0.9.0`; undefined where it does not say. */
  readonly stablehloMinimum: string | undefined;
  /**
   * Starts the runtime. On a TPU this takes the chips: one process a chip.
   * @throws SluiceError `config` with the plug-in's own words where it cannot.
   */
  createClient(options?: ClientOptions): Promise<Client>;
}

/** Options of a client, each of one type that the plug-in expects: another type would end the process. Left out: its own defaults. */
export interface ClientOptions {
  /** CPU plug-in only: how many devices it shows, 1 or more. Several are tested on one machine as on a TPU host. */
  readonly cpuDevices?: number;
  /** CUDA plug-in only: the share of the device's memory that is taken at start, above 0 and up to 1. */
  readonly memoryFraction?: number;
  /** CUDA plug-in only: whether that memory is taken at once. */
  readonly preallocate?: boolean;
}

/** A runtime with its devices. */
export interface Client {
  /** `cpu`, `cuda`, `tpu`. */
  readonly platform: string;
  /** What the platform says of its version; part of the key of cached executables. */
  readonly platformVersion: string;
  readonly plugin: Plugin;
  /** Those of this process, in the order of their ids. */
  readonly devices: readonly Device[];
  /**
   * Compiles a program, on a thread of its own.
   * @throws PjrtError `INVALID_ARGUMENT` with line and column where the text does not parse.
   */
  compile(program: Program): Promise<Executable>;
  /**
   * Loads what {@link Executable.serialize} gave for the same program on the same plug-in and kind of device.
   * @throws PjrtError where the bytes are not what this plug-in writes, or its outputs are not `program.outputs`.
   */
  loadCompiled(bytes: Uint8Array, program: Program): Promise<Executable>;
  /**
   * Brings a tensor to a device.
   *
   * `copy` (small inputs): `bytes` are free when the call returns.
   * `lend` (large ones): `bytes` must not change until they have been read, and are kept alive as long; `drain` waits for that.
   * `share` (weights): `bytes` must not change until the buffer is released, and are kept alive as long; a CPU plug-in then reads
   * them in place where they begin at a multiple of 64 (see host-memory.ts), and copies them elsewhere.
   * @throws SluiceError `bug` where `bytes` has another size than `spec`.
   */
  upload(bytes: Uint8Array, spec: TensorSpec, device: Device, how: "copy" | "lend" | "share"): DeviceBuffer;
  /** Resolves when nothing is under way any more: before the process exits, or it may crash. Never rejects. */
  drain(): Promise<void>;
  /** Drains, then ends the runtime. Its executables and buffers must have been released: SluiceError `bug` otherwise. */
  release(): Promise<void>;
}

/** A device that this process can use. */
export interface Device {
  /** Unique in the slice. */
  readonly id: number;
  /** As the vendor calls it: `TPU v5 lite`, `NVIDIA H100 80GB HBM3`, `cpu`. */
  readonly kind: string;
  /** Bytes in use and the limit; null where the plug-in does not know. */
  memory(): DeviceMemory | null;
}

/** Memory of a device in bytes. */
export interface DeviceMemory {
  readonly used: number;
  readonly peak: number | null;
  readonly limit: number | null;
}

/** What is compiled: a StableHLO module whose function `main` takes and gives tensors of fixed shapes. */
export interface Program {
  /** StableHLO text. Floats in it need a decimal point (`1.0e-6`). */
  readonly text: string;
  /** What `main` takes: on each device, so of a sharded argument the shape of a shard. */
  readonly parameters: readonly TensorSpec[];
  /** What `main` gives: on each device. */
  readonly outputs: readonly TensorSpec[];
  /** Devices that share the work of one execution (num_partitions); default 1. The text carries the shardings. */
  readonly partitions?: number;
  /**
   * Where it runs, a multiple of `partitions`: each group of so many devices computes by itself (a replica), all in one call of
   * `execute`. Default: one group, the first devices of the client.
   */
  readonly devices?: readonly Device[];
  /** How shardings are written in a text for several partitions: Shardy's `sdy.` (default), or `mhlo.sharding` (GSPMD). */
  readonly shardings?: "shardy" | "gspmd";
}

/** The devices of a program that names none are the client's first. */
export function devicesOf({ partitions = 1, devices }: Program, all: readonly Device[]): readonly Device[] {
  return devices ?? all.slice(0, partitions);
}

/** A compiled program on its devices. */
export interface Executable {
  readonly program: Program;
  /** Where it runs, in the order of `execute`'s lists: as `program.devices` has them. */
  readonly devices: readonly Device[];
  /** Bytes on each device: `temporary` while it runs, beside arguments and outputs; null where the plug-in does not know. */
  readonly memory: ExecutableMemory | null;
  /**
   * Puts an execution into the device's queue: it returns long before the result is there, and the outputs may be given to
   * the next execution at once. Executions begin in the order of their calls. Arguments may be released after the call.
   *
   * @param args one list a device, each with the program's parameters.
   * @throws SluiceError `bug` where an argument has another type, shape or device, or was released; PjrtError as the plug-in says it.
   */
  execute(args: readonly (readonly DeviceBuffer[])[]): Promise<Execution>;
  /** The executable as bytes for `Client.loadCompiled`. @throws PjrtError `UNIMPLEMENTED` where the plug-in cannot. */
  serialize(): Uint8Array;
  release(): void;
}

/** Device memory that an executable needs, in bytes. */
export interface ExecutableMemory {
  readonly arguments: number;
  readonly outputs: number;
  readonly temporary: number;
  readonly code: number;
}

/** An execution under way. */
export interface Execution {
  /** One list a device, in the order of the program's outputs. The caller releases each. */
  readonly outputs: readonly (readonly DeviceBuffer[])[];
  /** Resolves when all devices are done. @throws PjrtError where the execution failed. May be left unobserved. */
  readonly done: Promise<void>;
}

/** A tensor on a device. */
export interface DeviceBuffer extends TensorSpec {
  readonly device: Device;
  /**
   * Copies its values to the host as soon as they are there, beside whatever the device does next.
   *
   * @param target filled and resolved; kept alive until then; must not be read before. Default: a new array.
   * @throws SluiceError `bug` where `target` has another size; PjrtError where the computation that makes the values failed.
   */
  toHost(target?: Uint8Array): Promise<Uint8Array>;
  /** Gives the memory back as soon as what uses it is done: also while copies and executions of it are under way. Once or more. */
  release(): void;
}
