// A shard's format decides where every byte lies, before anything is computed: lengths are known once a unit is
// tokenized. The engine's process then writes rows to their final places, in any order.

import type { Transform } from "node:stream";
import type { DType, FloatDType } from "../base/dtype.js";

/** One activation tensor of a shard: all selected rows of one hook and layer. */
export interface ActivationSpec {
  /** `blocks.3.hook_resid_post`. */
  readonly name: string;
  /** Null where the hook belongs to no block. */
  readonly layer: number | null;
  /** Shape of one row: [width], or [heads, head width]. */
  readonly rowShape: readonly number[];
  /** As stored. */
  readonly dtype: FloatDType;
  /** What it is, in words; goes into the metadata. */
  readonly meaning: string;
}

/** A named index tensor (sample_offsets, token_ids ...), its bytes little-endian. */
export interface IndexTensor {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

/** What goes into one shard, besides the activations' values. */
export interface ShardContents {
  readonly activations: readonly ActivationSpec[];
  /** Rows before each sample's own; [samples + 1]. */
  readonly rowOffsets: Int32Array;
  readonly index: readonly IndexTensor[];
  /** The record's index in the dataset of each sample, and a preview of its text (pkl.gz stores these). */
  readonly sampleIds: BigInt64Array;
  readonly previews: readonly string[];
  /** Text metadata, in the order in which it is written. */
  readonly metadata: Readonly<Record<string, string>>;
}

/** Where a tensor lies in the laid-out file (for pkl.gz: in the uncompressed pickle). */
export interface TensorPlace {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Bytes from the file's start. */
  readonly offset: number;
  readonly length: number;
}

/** A file whose every byte is known but the activations'. */
export interface ShardLayout {
  /** Bytes of the whole file before any compression. */
  readonly size: number;
  /** Header, index tensors, opcodes: what does not come from the engine. Ascending, not overlapping. */
  readonly literals: readonly { readonly offset: number; readonly bytes: Uint8Array }[];
  /** The tensors in file order (index and activations) that are one contiguous range each: for the commit. Empty for pkl.gz. */
  readonly tensors: readonly TensorPlace[];
  /**
   * Where the rows of sample s of activation a begin: places[a * samples + s], in bytes from the file's start. A sample's rows are
   * contiguous, rows x row bytes.
   */
  readonly places: Float64Array;
}

/** A shard format: one file and one line in `formats.ts`. */
export interface ShardFormat {
  /** As in `--format`. */
  readonly name: "safetensors" | "pkl.gz";
  /** With the dot: `.safetensors`. */
  readonly extension: string;
  /** The dtype in which values are stored where the user asked for `dtype` (pkl.gz stores bfloat16 as float32). */
  storedDType(dtype: FloatDType): FloatDType;
  /** @throws SluiceError `usage` where the format cannot hold such tensors (pkl.gz: more than one hook, or one of no layer). */
  readonly check?: (activations: readonly ActivationSpec[]) => void;
  layout(contents: ShardContents): ShardLayout;
  /** What is done to the file once it is complete; undefined where the laid-out file is the data object itself. */
  readonly compression?: Compression;
}

/** A compression of a whole shard. Other versions of the compressor make other bytes of the same file. */
export interface Compression {
  /** Compresses a file into a new one, which carries the comment. */
  compress(laidOut: string, target: string, comment: string, signal?: AbortSignal): Promise<void>;
  /** The comment of a compressed file, from its first bytes; undefined where it has none. */
  readComment(start: Uint8Array): string | undefined;
  /** Expands what is written to it. */
  expand(): Transform;
}
