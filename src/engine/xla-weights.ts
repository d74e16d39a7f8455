// Brings the weights to the devices, once: mapped from their files, so that a CPU plug-in reads them in place where they have the
// dtype that is computed in, and begin at a multiple of 64 bytes. Other dtypes are converted on the device. Devices that share a model
// each get their own parts: rows of a matrix as they lie in the file, columns in a copy.

import { bytesOf, type FloatDType } from "../base/dtype.js";
import { SluiceError } from "../base/errors.js";
import type { WeightPart } from "../graph/separate-fused.js";
import type { HloParameter } from "../graph/stablehlo.js";
import { HloFunction, typeOf } from "../graph/stablehlo-text.js";
import type { StoredTensor } from "../graph/weights.js";
import { compileCached } from "./pjrt/executable-cache.js";
import { alignedBytes, mapFile } from "./pjrt/host-memory.js";
import type { Client, Device, DeviceBuffer, Executable, TensorSpec } from "./pjrt/pjrt.js";
import type { XlaModelSource } from "./xla-source.js";

/** Copies that may be on their way to devices at once, in bytes. */
const UNDER_WAY_BYTES = 2 ** 28;

/** Uploads the parameters, in their order, to the devices of a group: one list a device. The caller releases them. */
export async function uploadWeights(
  client: Client,
  group: readonly Device[],
  parameters: readonly HloParameter[],
  { parts, stored }: XlaModelSource,
): Promise<DeviceBuffer[][]> {
  const converters = new Map<string, Promise<Executable>>();
  const lists = group.map((): DeviceBuffer[] => []);
  let copied = 0;
  try {
    for (const parameter of parameters) {
      const part = parts.get(parameter.name);
      const tensor = stored.find(part?.weight ?? parameter.name);
      if (!tensor) throw new SluiceError("bug", `the checkpoint has no ${parameter.name}`);
      const bytes = await mapFile(tensor.file, tensor.offset, tensor.length);
      const uploads = group.map(async (device, d) => {
        const piece = cut(bytes, tensor, rangesOf(parameter, part, d, group.length));
        copied += piece.isCopied ? piece.bytes.length : 0;
        // A CPU plug-in reads a copy in place for good; from elsewhere it is gone once it has arrived.
        const how = piece.isCopied && client.platform !== "cpu" ? "lend" : "share";
        const from = { dtype: tensor.dtype, shape: shapeOnDevice(parameter, group.length) };
        const buffer = client.upload(piece.bytes, from, device, how);
        if (from.dtype === parameter.dtype) return buffer;
        return convert(buffer, findConverter(client, device, from, parameter, converters));
      });
      const settled = await Promise.allSettled(uploads);
      for (const [d, upload] of settled.entries())
        if (upload.status === "fulfilled") lists[d]?.push(upload.value);
      for (const upload of settled) if (upload.status === "rejected") throw upload.reason;
      if (copied < UNDER_WAY_BYTES) continue;
      await client.drain();
      copied = 0;
    }
    return lists;
  } catch (error) {
    for (const buffer of lists.flat()) buffer.release();
    throw error;
  } finally {
    for (const converter of await Promise.allSettled(converters.values()))
      if (converter.status === "fulfilled") converter.value.release();
  }
}

/** The shape of a parameter on each of `devices` devices. */
export function shapeOnDevice({ shape, split }: HloParameter, devices: number): number[] {
  return shape.map((size, dimension) => (dimension === split ? size / devices : size));
}

/** A tensor of parameters. */
type FloatSpec = TensorSpec & { readonly dtype: FloatDType };

type Range = readonly [from: number, to: number];

/** Of each dimension of a tensor, what the d-th device has of it. */
function rangesOf(
  parameter: HloParameter,
  part: WeightPart | undefined,
  d: number,
  devices: number,
): Range[] {
  return parameter.shape.map((size, dimension) => {
    const start = part?.dimension === dimension ? part.from : 0;
    if (dimension !== parameter.split) return [start, start + size];
    const each = size / devices;
    return [start + d * each, start + (d + 1) * each];
  });
}

/** A part of a vector or matrix, row by row: in place where its rows are whole, else a copy. */
function cut(
  bytes: Uint8Array,
  { dtype, shape }: StoredTensor,
  ranges: readonly Range[],
): { readonly bytes: Uint8Array; readonly isCopied: boolean } {
  const [rows = [0, 1] as const, columns = [0, 1] as const] = ranges;
  const width = (shape[1] ?? 1) * bytesOf(dtype);
  const [from, to] = columns.map((column) => column * bytesOf(dtype)) as [number, number];
  if (from === 0 && to === width)
    return { bytes: bytes.subarray(rows[0] * width, rows[1] * width), isCopied: false };
  const copy = alignedBytes((rows[1] - rows[0]) * (to - from));
  const source = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let row = rows[0], at = 0; row < rows[1]; row++, at += to - from)
    source.copy(copy, at, row * width + from, row * width + to);
  return { bytes: copy, isCopied: true };
}

function findConverter(
  client: Client,
  device: Device,
  from: FloatSpec,
  to: HloParameter,
  converters: Map<string, Promise<Executable>>,
): Promise<Executable> {
  const key = `${device.id}: ${from.dtype} ${to.dtype} ${from.shape.join(" ")}`;
  const found = converters.get(key) ?? compileConverter(client, device, from, to);
  converters.set(key, found);
  return found;
}

async function compileConverter(
  client: Client,
  device: Device,
  from: FloatSpec,
  { dtype }: HloParameter,
): Promise<Executable> {
  const f = new HloFunction();
  const result = f.convert(f.argument(from.shape, typeOf(from.dtype)), typeOf(dtype));
  const { executable } = await compileCached(client, {
    text: `module @convert {\n${f.text("func.func public @main", [result])}\n}\n`,
    parameters: [from],
    outputs: [{ dtype, shape: from.shape }],
    devices: [device],
  });
  return executable;
}

async function convert(stored: DeviceBuffer, converter: Promise<Executable>): Promise<DeviceBuffer> {
  try {
    const { outputs, done } = await (await converter).execute([[stored]]);
    await done;
    const [converted] = outputs[0] ?? [];
    if (!converted) throw new SluiceError("bug", "a conversion of weights gave nothing");
    return converted;
  } finally {
    stored.release();
  }
}
