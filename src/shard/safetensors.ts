// The default format: one tensor per hook and layer, all samples' rows one after the other, with index tensors that say
// whose they are. Deterministic to the byte: fixed order, no time, no host.

import { bytesOf, type DType, elementsOf, safetensorsName } from "../base/dtype.js";
import { SluiceError } from "../base/errors.js";
import type { ShardContents, ShardFormat, ShardLayout, TensorPlace } from "./format.js";

const ALIGNMENT = 64;

/** One shard is one safetensors file; `index-tensors.ts` lists the index. */
export const safetensorsFormat: ShardFormat = {
  name: "safetensors",
  extension: ".safetensors",
  storedDType: (dtype) => dtype,
  layout: layOut,
};

interface Planned {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** An index tensor's bytes; undefined for activations. */
  readonly data?: Uint8Array;
}

function layOut(contents: ShardContents): ShardLayout {
  const samples = contents.rowOffsets.length - 1;
  const rows = contents.rowOffsets[samples] ?? 0;
  const planned: Planned[] = [
    ...contents.index,
    ...contents.activations.map(({ name, dtype, rowShape }) => ({ name, dtype, shape: [rows, ...rowShape] })),
  ];
  // A stable sort: within a width, index tensors stay first, then activations in the order of layer and hook.
  const ordered = [...planned].sort((a, b) => bytesOf(b.dtype) - bytesOf(a.dtype));
  const header = encodeHeader(ordered, contents);
  const tensors: TensorPlace[] = [];
  const literals = [{ offset: 0, bytes: header }];
  let offset = header.length;
  for (const { name, dtype, shape, data } of ordered) {
    const length = elementsOf(shape) * bytesOf(dtype);
    if (data && data.length !== length)
      throw new SluiceError("bug", `index tensor ${name} has ${data.length} bytes, expected ${length}`);
    if (data && length > 0) literals.push({ offset, bytes: data });
    tensors.push({ name, dtype, shape, offset, length });
    offset += length;
  }
  return { size: offset, literals, tensors, places: placeRows(contents, tensors) };
}

function placeRows(contents: ShardContents, tensors: readonly TensorPlace[]): Float64Array {
  const starts = new Map(tensors.map((tensor) => [tensor.name, tensor.offset]));
  const samples = contents.rowOffsets.length - 1;
  const places = new Float64Array(contents.activations.length * samples);
  for (const [a, { name, dtype, rowShape }] of contents.activations.entries()) {
    const rowBytes = elementsOf(rowShape) * bytesOf(dtype);
    for (let s = 0; s < samples; s++)
      places[a * samples + s] = (starts.get(name) ?? 0) + (contents.rowOffsets[s] ?? 0) * rowBytes;
  }
  return places;
}

function encodeHeader(tensors: readonly Planned[], contents: ShardContents): Uint8Array {
  const meanings = Object.fromEntries(contents.activations.map(({ name, meaning }) => [name, meaning]));
  const header: Record<string, unknown> = {
    __metadata__: { ...contents.metadata, meanings: JSON.stringify(meanings) },
  };
  let offset = 0;
  for (const { name, dtype, shape } of tensors) {
    const end = offset + elementsOf(shape) * bytesOf(dtype);
    header[name] = { dtype: safetensorsName(dtype), shape, data_offsets: [offset, end] };
    offset = end;
  }
  const json = Buffer.from(JSON.stringify(header));
  const padded = Math.ceil((8 + json.length) / ALIGNMENT) * ALIGNMENT;
  const bytes = Buffer.alloc(padded, " ");
  bytes.writeBigUInt64LE(BigInt(padded - 8));
  json.copy(bytes, 8);
  return bytes;
}
