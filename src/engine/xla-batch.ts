// A batch as a module of fixed shape takes it: padded to one of few shapes, and what is to be given back as an array of fixed
// size; and how it comes to the devices.

import type { HloShape } from "../graph/stablehlo.js";
import { roundShape } from "../plan/batch-shapes.js";
import type { TokenBatch } from "./engine.js";
import { meanWeights } from "./mean-weights.js";
import type { Client, Device, DeviceBuffer } from "./pjrt/pjrt.js";

/** The arguments of a module besides the weights. */
export interface HloBatch {
  readonly shape: HloShape;
  /** i32 [samples, length]. */
  readonly tokens: Int32Array;
  /** i32 [rows], the rows asked for and then row 0; or f32 [samples, length], 1 / n at the n rows of a sample and 0 elsewhere. */
  readonly selector: Int32Array | Float32Array;
}

/** Pads a batch. */
export function padBatch(batch: TokenBatch, selection: "rows" | "mean" | "max"): HloBatch {
  const { samples, length } = roundShape(batch);
  const tokens = new Int32Array(samples * length);
  for (let s = 0; s < batch.samples; s++)
    tokens.set(batch.tokens.subarray(s * batch.length, (s + 1) * batch.length), s * length);
  const rows = batch.rows.map((row) => Math.floor(row / batch.length) * length + (row % batch.length));
  const capacity = roundRows(rows.length, samples, length);
  const shape = { samples, length, rows: selection === "rows" ? capacity : samples };
  if (selection !== "rows") return { shape, tokens, selector: meanWeights({ samples, length, rows }) };
  const selector = new Int32Array(capacity);
  selector.set(rows);
  return { shape, tokens, selector };
}

/** A power of two of rows for each sample, or all of them: `last` gives one a sample, `all` gives all. */
function roundRows(rows: number, samples: number, length: number): number {
  const each = 2 ** Math.ceil(Math.log2(Math.max(1, rows / samples)));
  return samples * Math.min(length, each);
}

/** Uploads a batch to each device of a group: the module's first two arguments, one list a device. All of them or none. */
export function uploadBatch(
  client: Pick<Client, "upload">,
  { shape, tokens, selector }: HloBatch,
  group: readonly Device[],
): DeviceBuffer[][] {
  const batch = [shape.samples, shape.length];
  const uploaded: DeviceBuffer[] = [];
  const upload = (values: Int32Array | Float32Array, dims: readonly number[], device: Device) => {
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    const dtype = values instanceof Int32Array ? "int32" : "float32";
    const buffer = client.upload(bytes, { dtype, shape: dims }, device, "copy");
    uploaded.push(buffer);
    return buffer;
  };
  try {
    return group.map((device) => [
      upload(tokens, batch, device),
      upload(selector, selector instanceof Int32Array ? [shape.rows] : batch, device),
    ]);
  } catch (error) {
    for (const buffer of uploaded) buffer.release();
    throw error;
  }
}
