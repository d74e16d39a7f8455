// The registry of shard formats: one line each.

import { SluiceError } from "../base/errors.js";
import type { ShardFormat } from "./format.js";
import { pickleFormat } from "./pkl-gz.js";
import { safetensorsFormat } from "./safetensors.js";

const FORMATS: readonly ShardFormat[] = [safetensorsFormat, pickleFormat];

/** The format of that name. @throws SluiceError `usage` naming those there are. */
export function findFormat(name: string): ShardFormat {
  const format = FORMATS.find((f) => f.name === name);
  if (format) return format;
  throw new SluiceError("usage", "there is no such shard format", {
    found: name,
    expected: FORMATS.map((f) => f.name).join(", "),
  });
}
