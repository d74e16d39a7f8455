// Which devices share a model: each group holds the weights once, and computes one program together.

import { SluiceError } from "../base/errors.js";
import type { Device } from "./pjrt/pjrt.js";

/**
 * Groups of `size` devices, neighbours first, as the plug-in lists them.
 * @throws SluiceError `usage` where some would be left over.
 */
export function groupDevices(devices: readonly Device[], size: number): Device[][] {
  if (devices.length % size !== 0) {
    const fitting = devices.map((_, i) => i + 1).filter((n) => devices.length % n === 0);
    throw new SluiceError("usage", "--tensor-parallel does not divide the devices of this machine", {
      found: `--tensor-parallel ${size}`,
      expected: `${fitting.join(", ")}: there ${devices.length === 1 ? "is 1 device" : `are ${devices.length} devices`}`,
    });
  }
  return Array.from({ length: devices.length / size }, (_, g) => devices.slice(g * size, (g + 1) * size));
}
