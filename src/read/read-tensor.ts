// One tensor of one shard: a range of the data object, checked against the checksum in the commit.

import { crc32c } from "@node-rs/crc32";
import { formatCrc } from "../base/crc.js";
import { SluiceError } from "../base/errors.js";
import type { Commit } from "../run/commit.js";
import { dataName } from "../run/log.js";
import type { Store } from "../store/store.js";

/**
 * The bytes of a tensor, little-endian, row-major.
 * @throws SluiceError `data` where the shard has no such tensor, or its bytes are not the committed ones.
 */
export async function readTensor(store: Store, commit: Commit, name: string): Promise<Uint8Array> {
  const place = commit.tensors[name];
  const object = dataName(commit);
  if (!place || object === null) {
    throw new SluiceError(
      "data",
      `shard ${commit.unit + 1} of stream ${commit.stream} has no tensor ${name}`,
      {
        expected: Object.keys(commit.tensors).join(", ") || "a safetensors shard",
      },
    );
  }
  const bytes = await store.read(object, { start: place.offset, end: place.offset + place.length });
  const sum = formatCrc(crc32c(bytes));
  if (sum === place.crc32c) return bytes;
  throw new SluiceError("data", `tensor ${name} of ${store.uri}/${object} is corrupt`, {
    found: `CRC32C ${sum}`,
    expected: place.crc32c,
    fix: "Restore the shard from a copy, or remove it: extract makes it again.",
    values: { name: object, tensor: name },
  });
}

/** An int64 tensor as numbers. */
export async function readInt64(store: Store, commit: Commit, name: string): Promise<number[]> {
  const bytes = (await readTensor(store, commit, name)).slice();
  return Array.from(new BigInt64Array(bytes.buffer), Number);
}

/** An int32 tensor. */
export async function readInt32(store: Store, commit: Commit, name: string): Promise<Int32Array> {
  return new Int32Array((await readTensor(store, commit, name)).slice().buffer);
}
