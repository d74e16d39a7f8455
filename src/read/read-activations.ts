// The activations of one hook and layer as numbers: what a program that trains on them reads.

import type { FloatDType } from "../base/dtype.js";
import { SluiceError } from "../base/errors.js";
import type { Commit } from "../run/commit.js";
import { decodeRows } from "../shard/decode.js";
import type { Store } from "../store/store.js";
import { placeOf, readTensor } from "./read-tensor.js";

/** A tensor of activations. */
export interface Activations {
  /** Row-major, whatever they are stored as. */
  readonly values: Float32Array;
  /** `[rows, width]`, or `[rows, heads, head width]`. */
  readonly shape: readonly number[];
}

/**
 * The activations of one hook and layer in one shard, such as `blocks.3.hook_resid_post`.
 * @throws SluiceError `data` where the shard has no such activations, or their bytes are not the committed ones.
 */
export async function readActivations(store: Store, commit: Commit, name: string): Promise<Activations> {
  const { dtype, shape } = placeOfActivations(store, commit, name);
  return { values: decodeRows(await readTensor(store, commit, name), dtype), shape };
}

/** Where activations lie in their shard's object. @throws SluiceError `data` where the shard has none of that name. */
export function placeOfActivations(store: Store, commit: Commit, name: string) {
  const place = placeOf(commit, name);
  const { dtype } = place;
  if (dtype === "float32" || dtype === "bfloat16" || dtype === "float16")
    return { ...place, dtype: dtype satisfies FloatDType };
  throw new SluiceError("data", `tensor ${name} of ${store.uri}/${place.object} is no activation`, {
    found: dtype,
  });
}
