// A tensor on a device.

import type { DType } from "../../base/dtype.js";
import { SluiceError } from "../../base/errors.js";
import type { PjrtApi } from "./call.js";
import type { PjrtDevice } from "./device.js";
import { describeSpec, sizeOf } from "./element-types.js";
import type { Events } from "./events.js";
import { Handle } from "./handle.js";
import type { DeviceBuffer, TensorSpec } from "./pjrt.js";
import { allocate, int64s, Struct } from "./struct.js";

/** What a buffer needs of its client. */
export interface Runtime {
  readonly api: PjrtApi;
  readonly events: Events;
  /** What there is of the client's buffers and executables. */
  readonly owned: Set<Handle>;
}

/** Host memory that the runtime may read until an event says that it is done. */
export interface HostSource {
  readonly bytes: Uint8Array;
  readonly done: bigint;
}

/** A buffer with its handle, which stays in this folder. */
export class PjrtBuffer implements DeviceBuffer {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly device: PjrtDevice;
  readonly handle: Handle;
  readonly #runtime: Runtime;

  constructor(runtime: Runtime, address: bigint, spec: TensorSpec, device: PjrtDevice, source?: HostSource) {
    this.#runtime = runtime;
    this.dtype = spec.dtype;
    this.shape = spec.shape;
    this.device = device;
    const destroy = (at: bigint) => {
      runtime.api.call("PJRT_Buffer_Destroy", { buffer: at });
      if (!source) return;
      // The source's bytes are referenced until the runtime has let go of them.
      const letGo = () => void source.bytes.byteLength;
      runtime.events.settle(source.done, "PJRT_Client_BufferFromHostBuffer").then(letGo, letGo);
    };
    this.handle = new Handle("buffer", address, destroy, runtime.owned);
  }

  async toHost(target?: Uint8Array): Promise<Uint8Array> {
    const size = sizeOf(this);
    const bytes = target ?? allocate(size);
    if (bytes.byteLength !== size)
      throw new SluiceError("bug", `the target of a copy of ${describeSpec(this)} has another size`, {
        found: bytes.byteLength,
        expected: `${size} bytes`,
      });
    if (size === 0) return bytes;
    // Dense, last dimension fastest, whatever the device's own layout is.
    const order = int64s(this.shape.map((_, i) => this.shape.length - 1 - i));
    const layout = new Struct("PJRT_Buffer_MemoryLayout", {
      "tiled.struct_size": TILED_BYTES,
      "tiled.minor_to_major": order,
      "tiled.minor_to_major_size": this.shape.length,
      type: TILED,
    });
    const { api, events } = this.#runtime;
    const args = api.call("PJRT_Buffer_ToHostBuffer", {
      src: this.handle.address,
      host_layout: layout,
      dst: bytes,
      dst_size: size,
    });
    await events.settle(args.pointer("event"), "PJRT_Buffer_ToHostBuffer");
    return bytes;
  }

  release(): void {
    this.handle.release();
  }
}

/** PJRT_Buffer_MemoryLayout_Type_Tiled. */
const TILED = 0;
/** PJRT_Buffer_MemoryLayout_Tiled_STRUCT_SIZE. */
const TILED_BYTES = 56;
