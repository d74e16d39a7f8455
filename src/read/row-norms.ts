// Euclidean norms of a few rows of a tensor, read as the range that they are.

import { bytesOf } from "../base/dtype.js";
import type { Commit } from "../run/commit.js";
import { decodeRows } from "../shard/decode.js";
import type { Store } from "../store/store.js";
import { placeOfActivations } from "./read-activations.js";

/**
 * The norms of rows [from, to) of an activation; null where a value of the row is not finite.
 * @throws SluiceError `data` where the commit names no such activation: it is damaged, or a stranger's.
 */
export async function readNorms(
  store: Store,
  commit: Commit,
  tensor: string,
  from: number,
  to: number,
): Promise<(number | null)[]> {
  const place = placeOfActivations(store, commit, tensor);
  const width = place.shape.slice(1).reduce((product, size) => product * size, 1);
  const rowBytes = width * bytesOf(place.dtype);
  const bytes = await store.read(place.object, {
    start: place.offset + from * rowBytes,
    end: place.offset + to * rowBytes,
  });
  const values = decodeRows(bytes, place.dtype);
  return Array.from({ length: to - from }, (_, row) => {
    let squares = 0;
    for (let i = row * width; i < (row + 1) * width; i++) squares += (values[i] ?? 0) ** 2;
    return Number.isFinite(squares) ? Math.sqrt(squares) : null;
  });
}
