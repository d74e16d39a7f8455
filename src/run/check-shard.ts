// The last look at a shard before it is stored: what the engine says that it wrote, and what lies in the finished file, are
// what the unit's samples ask for. All of it follows from passes that are made anyway: the statistics, and the checksums.

import { crc32c } from "@node-rs/crc32";
import { formatCrc } from "../base/crc.js";
import { SluiceError } from "../base/errors.js";
import { type Unit, unitName } from "../plan/unit.js";
import type { IndexTensor, ShardLayout } from "../shard/format.js";
import type { FileHash } from "../shard/hash.js";
import type { UnitResult } from "./compute-unit.js";

/**
 * Every activation has all its rows, and every value of them was looked at.
 * @throws SluiceError `bug` where one has not.
 */
export function checkComputed(
  unit: Unit,
  result: UnitResult,
  activations: readonly { readonly name: string; readonly width: number }[],
  rows: number,
): void {
  for (const [i, { name, width }] of activations.entries()) {
    const s = result.statistics[i];
    if (s?.rows === rows && s.count + s.nan + s.inf === rows * width) continue;
    throw new SluiceError("bug", `${name} of ${unitName(unit)} is not whole`, {
      found: s ? `${s.rows} rows, ${s.count + s.nan + s.inf} values` : "nothing",
      expected: `${rows} rows of ${width}`,
    });
  }
}

/**
 * The file is as long as its layout says, and its index tensors are the unit's.
 * @param hash of the file as laid out, with the checksums of its tensors. @throws SluiceError `bug` where they are not.
 */
export function checkLaidOut(
  unit: Unit,
  layout: ShardLayout,
  hash: FileHash,
  index: readonly IndexTensor[],
): void {
  if (hash.size !== layout.size)
    throw new SluiceError("bug", `the shard of ${unitName(unit)} has ${hash.size} bytes`, {
      expected: String(layout.size),
    });
  for (const { name, data } of index) {
    const i = layout.tensors.findIndex((tensor) => tensor.name === name);
    if (i < 0) continue; // pkl.gz has no index tensors.
    const sum = formatCrc(crc32c(data));
    if (hash.tensors[i] === sum) continue;
    throw new SluiceError("bug", `${name} of ${unitName(unit)} is not what was to be written`, {
      found: `CRC32C ${hash.tensors[i]}`,
      expected: sum,
    });
  }
}
