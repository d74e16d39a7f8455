// Parquet's delta encodings of whole numbers and of texts. `hyparquet` unpacks the numbers; the header by which it goes, and lengths of
// texts, are checked before: of a negative size it would read the same block for ever, and texts that share prefixes can be far larger than their page.

import { deltaBinaryUnpack } from "hyparquet/src/delta.js";
import { readVarInt } from "hyparquet/src/thrift.js";
import type { PageReader } from "./parquet-runs.js";

/** Writers make blocks of 128 or some thousand values. */
const MAX_BLOCK_VALUES = 1 << 20;

/** DELTA_BINARY_PACKED. @throws Error where the header or the bytes cannot be. */
export function readDeltas<T extends Int32Array | BigInt64Array>(reader: PageReader, values: T): T {
  if (values.length === 0) return values;
  const start = reader.offset;
  const block = readVarInt(reader);
  const parts = readVarInt(reader);
  if (!(block > 0 && block <= MAX_BLOCK_VALUES && parts > 0 && block % parts === 0))
    throw new Error(`a block of ${block} deltas in ${parts} parts`);
  reader.offset = start;
  deltaBinaryUnpack(reader, values.length, values);
  return values;
}

/** DELTA_LENGTH_BYTE_ARRAY: all lengths, then all bytes. */
export function readDeltaLengths(reader: PageReader, count: number): Uint8Array[] {
  return Array.from(readDeltas(reader, new Int32Array(count)), (length) => take(reader, length));
}

/**
 * DELTA_BYTE_ARRAY: each value begins as the one before it does.
 * @param maxBytes of all values together.
 */
export function readDeltaTexts(reader: PageReader, count: number, maxBytes: number): Uint8Array[] {
  const prefixes = readDeltas(reader, new Int32Array(count));
  const suffixes = readDeltas(reader, new Int32Array(count));
  let last = new Uint8Array();
  let bytes = 0;
  return Array.from(prefixes, (prefix, i) => {
    const suffix = take(reader, suffixes[i] ?? 0);
    if (prefix < 0 || prefix > last.length)
      throw new Error(`a value that begins with ${prefix} bytes of one of ${last.length}`);
    bytes += prefix + suffix.length;
    if (bytes > maxBytes) throw new Error(`a page of more than ${maxBytes} bytes`);
    if (prefix === 0) {
      last = suffix;
    } else {
      const value = new Uint8Array(prefix + suffix.length);
      value.set(last.subarray(0, prefix));
      value.set(suffix, prefix);
      last = value;
    }
    return last;
  });
}

function take(reader: PageReader, length: number): Uint8Array<ArrayBuffer> {
  const { view } = reader;
  if (length < 0 || length > view.byteLength - reader.offset)
    throw new Error(
      `a value of ${length} bytes where ${view.byteLength - reader.offset} are left in its page`,
    );
  const bytes = new Uint8Array(view.buffer as ArrayBuffer, view.byteOffset + reader.offset, length);
  reader.offset += length;
  return bytes;
}
