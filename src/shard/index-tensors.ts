// The index tensors of a shard: which rows are whose, which token each row is, and all that the model read. Their names,
// dtypes and shapes are the CLI contract's.

import type { IndexTensor } from "./format.js";

/** What of a unit's samples goes into the index; see data/samples.ts. */
export interface IndexedSamples {
  readonly count: number;
  readonly records: BigInt64Array;
  readonly parts: Int32Array;
  readonly inputIds: Int32Array;
  readonly inputOffsets: Int32Array;
  readonly inputFlags: Uint8Array;
  readonly positions: Int32Array;
  readonly positionOffsets: Int32Array;
  readonly infos: readonly string[];
}

/** What the first axis of a tensor counts: `offsets` is samples + 1, `tokens` are those that the model read. */
export type Axis = "rows" | "samples" | "offsets" | "tokens" | "info_bytes";

const AXES: Readonly<Record<string, Axis>> = {
  sample_offsets: "offsets",
  sample_ids: "samples",
  input_offsets: "offsets",
  sample_info_offsets: "offsets",
  sample_parts: "samples",
  input_ids: "tokens",
  sample_info: "info_bytes",
};

/** The first axis of a shard's tensor; activations, token ids, positions and flags have one entry a row. */
export function axisOf(name: string): Axis {
  return AXES[name] ?? "rows";
}

/** The index tensors, in the order in which shards have them. For mean and max a row stands for no one token: -1, and no flags. */
export function indexTensors(samples: IndexedSamples, selection: "rows" | "mean" | "max"): IndexTensor[] {
  const reduced = selection !== "rows";
  const rows = reduced ? samples.count : samples.positions.length;
  const tokenIds = new Int32Array(rows).fill(-1);
  const positions = new Int32Array(rows).fill(-1);
  const flags = new Uint8Array(rows);
  for (let s = 0; s < samples.count && !reduced; s++) {
    const first = samples.inputOffsets[s] ?? 0;
    for (let row = samples.positionOffsets[s] ?? 0; row < (samples.positionOffsets[s + 1] ?? 0); row++) {
      const position = samples.positions[row] ?? 0;
      positions[row] = position;
      tokenIds[row] = samples.inputIds[first + position] ?? -1;
      flags[row] = samples.inputFlags[first + position] ?? 0;
    }
  }
  const infos = samples.infos.map((info) => Buffer.from(info));
  const infoOffsets = new BigInt64Array(samples.count + 1);
  for (const [i, info] of infos.entries()) infoOffsets[i + 1] = (infoOffsets[i] ?? 0n) + BigInt(info.length);
  const rowOffsets = reduced
    ? Int32Array.from({ length: samples.count + 1 }, (_, i) => i)
    : samples.positionOffsets;
  return [
    tensor("sample_offsets", "int64", BigInt64Array.from(rowOffsets, BigInt)),
    tensor("sample_ids", "int64", samples.records),
    tensor("input_offsets", "int64", BigInt64Array.from(samples.inputOffsets, BigInt)),
    tensor("sample_info_offsets", "int64", infoOffsets),
    tensor("sample_parts", "int32", samples.parts),
    tensor("token_ids", "int32", tokenIds),
    tensor("positions", "int32", positions),
    tensor("input_ids", "int32", samples.inputIds),
    tensor("token_flags", "uint8", flags),
    tensor("sample_info", "uint8", Buffer.concat(infos)),
  ];
}

function tensor(
  name: string,
  dtype: "int64" | "int32" | "uint8",
  array: BigInt64Array | Int32Array | Uint8Array,
): IndexTensor {
  return {
    name,
    dtype,
    shape: [array.length],
    data: new Uint8Array(array.buffer, array.byteOffset, array.byteLength),
  };
}
