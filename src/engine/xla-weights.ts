// Brings the weights to a device, once: mapped from their files, so that a CPU plug-in reads them in place where they have the
// dtype that is computed in, and begin at a multiple of 64 bytes. Other dtypes are converted on the device.

import { SluiceError } from "../base/errors.js";
import type { HloParameter } from "../graph/stablehlo.js";
import { HloFunction, typeOf } from "../graph/stablehlo-text.js";
import type { StoredTensor, StoredWeights } from "../graph/weights.js";
import { compileCached } from "./pjrt/executable-cache.js";
import { mapFile } from "./pjrt/host-memory.js";
import type { Client, Device, DeviceBuffer, Executable } from "./pjrt/pjrt.js";

/** Uploads the parameters, in their order. The caller releases them. */
export async function uploadWeights(
  client: Client,
  device: Device,
  parameters: readonly HloParameter[],
  weights: StoredWeights,
): Promise<DeviceBuffer[]> {
  const converters = new Map<string, Executable>();
  const buffers: DeviceBuffer[] = [];
  try {
    for (const parameter of parameters) {
      const tensor = weights.find(parameter.name);
      if (!tensor) throw new SluiceError("bug", `the checkpoint has no ${parameter.name}`);
      const bytes = await mapFile(tensor.file, tensor.offset, tensor.length);
      const stored = client.upload(bytes, { dtype: tensor.dtype, shape: tensor.shape }, device, "share");
      buffers.push(
        tensor.dtype === parameter.dtype
          ? stored
          : await convert(stored, await findConverter(client, device, tensor, parameter, converters)),
      );
    }
    return buffers;
  } catch (error) {
    for (const buffer of buffers) buffer.release();
    throw error;
  } finally {
    for (const converter of converters.values()) converter.release();
  }
}

async function findConverter(
  client: Client,
  device: Device,
  from: StoredTensor,
  to: HloParameter,
  converters: Map<string, Executable>,
): Promise<Executable> {
  const key = `${from.dtype} ${to.dtype} ${from.shape.join(" ")}`;
  const known = converters.get(key);
  if (known) return known;
  const f = new HloFunction();
  const result = f.convert(f.argument(from.shape, typeOf(from.dtype)), typeOf(to.dtype));
  const { executable } = await compileCached(client, {
    text: `module @convert {\n${f.text("func.func public @main", [result])}\n}\n`,
    parameters: [{ dtype: from.dtype, shape: from.shape }],
    outputs: [{ dtype: to.dtype, shape: to.shape }],
    devices: [device],
  });
  converters.set(key, executable);
  return executable;
}

async function convert(stored: DeviceBuffer, converter: Executable): Promise<DeviceBuffer> {
  try {
    const { outputs, done } = await converter.execute([[stored]]);
    await done;
    const [converted] = outputs[0] ?? [];
    if (!converted) throw new SluiceError("bug", "a conversion of weights gave nothing");
    return converted;
  } finally {
    stored.release();
  }
}
