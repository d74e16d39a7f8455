// Whether a device has room for its part of the weights. Known before they are uploaded, where the plug-in says how much memory a
// device has: what fits in no way is refused with the way that fits, instead of the plug-in's words in the middle of loading.

import { bytesOf, elementsOf } from "../base/dtype.js";
import { SluiceError } from "../base/errors.js";
import type { HloParameter } from "../graph/stablehlo.js";

/** The devices of a machine, and how they share a model. */
export interface DeviceRoom {
  readonly devices: number;
  readonly tensorParallel: number;
  /** Bytes of one device; null where the plug-in does not say. */
  readonly limit: number | null;
}

/** Bytes of the weights on each device. */
export function weightBytesOnDevice(parameters: readonly HloParameter[], tensorParallel: number): number {
  return parameters.reduce((sum, { shape, dtype, split }) => {
    const bytes = elementsOf(shape) * bytesOf(dtype);
    return sum + (split === null ? bytes : bytes / tensorParallel);
  }, 0);
}

/** @throws SluiceError `config` where the weights alone are more than a device holds. */
export function requireDeviceMemory(parameters: readonly HloParameter[], room: DeviceRoom): void {
  const { devices, tensorParallel, limit } = room;
  const bytes = weightBytesOnDevice(parameters, tensorParallel);
  if (limit === null || bytes <= limit) return;
  const whole = weightBytesOnDevice(parameters, 1);
  const enough = Array.from({ length: devices }, (_, i) => i + 1).find(
    (n) => n > tensorParallel && devices % n === 0 && whole / n < limit,
  );
  const gigabytes = (n: number) => `${(n / 1e9).toFixed(1)} GB`;
  throw new SluiceError("config", "the model does not fit a device's memory", {
    found: `${gigabytes(bytes)} of weights on each device`,
    expected: `less than ${gigabytes(limit)}`,
    fix:
      enough === undefined
        ? "Use a machine with larger devices, --compute-dtype bfloat16 if it is not, or fewer --layers from the bottom."
        : `Let ${enough} devices share it: --tensor-parallel ${enough}.`,
  });
}
