// The registry of model families: one line each.

import { SluiceError } from "../base/errors.js";
import type { Family } from "./family.js";
import { gpt2 } from "./gpt2.js";
import { llama } from "./llama.js";
import { qwen2 } from "./qwen2.js";

/** All families that this version computes. */
export const FAMILIES: readonly Family[] = [llama, qwen2, gpt2];

/** The family of an architecture. @throws SluiceError `config` naming it and what is supported. */
export function findFamily(architectures: unknown, where: string): Family {
  const named = Array.isArray(architectures) ? architectures : [];
  const family = FAMILIES.find(({ architectures: own }) => own.some((name) => named.includes(name)));
  if (family) return family;
  throw new SluiceError("config", `${where}: the architecture is not supported`, {
    found: named.length > 0 ? named.join(", ") : "no field architectures",
    expected: FAMILIES.flatMap((f) => f.architectures).join(", "),
  });
}
