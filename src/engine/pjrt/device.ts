// A device of this process. It lives as long as its client.

import type { PjrtApi } from "./call.js";
import { PjrtError } from "./error.js";
import type { Device, DeviceMemory } from "./pjrt.js";

/** A device with its address, which stays in this folder. */
export class PjrtDevice implements Device {
  readonly id: number;
  readonly kind: string;
  readonly #api: PjrtApi;
  readonly address: bigint;

  constructor(api: PjrtApi, address: bigint) {
    const description = api
      .call("PJRT_Device_GetDescription", { device: address })
      .pointer("device_description");
    this.#api = api;
    this.address = address;
    this.id = api.call("PJRT_DeviceDescription_Id", { device_description: description }).number("id");
    this.kind = api
      .call("PJRT_DeviceDescription_Kind", { device_description: description })
      .text("device_kind", "device_kind_size");
  }

  memory(): DeviceMemory | null {
    try {
      const stats = this.#api.call("PJRT_Device_MemoryStats", { device: this.address });
      return {
        used: stats.number("bytes_in_use"),
        peak: stats.bool("peak_bytes_in_use_is_set") ? stats.number("peak_bytes_in_use") : null,
        limit: stats.bool("bytes_limit_is_set") ? stats.number("bytes_limit") : null,
      };
    } catch (error) {
      if (error instanceof PjrtError && error.code === "UNIMPLEMENTED") return null;
      throw error;
    }
  }
}
