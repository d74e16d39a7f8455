// The registry of model families: one line each.

import { SluiceError } from "../base/errors.js";
import type { Family } from "./family.js";
import { gemma } from "./gemma.js";
import { gemma2 } from "./gemma2.js";
import { gemma3, gemma3WithImages } from "./gemma3.js";
import { gptNeo } from "./gpt-neo.js";
import { gptNeox } from "./gpt-neox.js";
import { gpt2 } from "./gpt2.js";
import { granite } from "./granite.js";
import { llama } from "./llama.js";
import { mistral } from "./mistral.js";
import { olmo2 } from "./olmo2.js";
import { olmo3 } from "./olmo3.js";
import { phi3 } from "./phi3.js";
import { qwen2 } from "./qwen2.js";
import { qwen3 } from "./qwen3.js";

/** All families that this version computes. */
export const FAMILIES: readonly Family[] = [
  llama,
  mistral,
  qwen2,
  qwen3,
  gemma,
  gemma2,
  gemma3,
  gemma3WithImages,
  phi3,
  olmo2,
  olmo3,
  granite,
  gptNeox,
  gptNeo,
  gpt2,
];

/** Parts of architectures' names that say what kind of model it is, for a refusal that tells why. */
const KINDS_NOT_SUPPORTED: readonly (readonly [RegExp, string])[] = [
  [/Moe|Mixtral|MoE/, "Mixtures of experts are not in this version."],
  [
    /ConditionalGeneration|VL|Vision/,
    "Models of images and text are not in this version: use the text model's checkpoint.",
  ],
  [/Mamba|Rwkv|Jamba/, "Only transformers are computed."],
];

/** The family of an architecture. @throws SluiceError `config` naming it and what is supported. */
export function findFamily(architectures: unknown, where: string): Family {
  const named: string[] = Array.isArray(architectures) ? architectures.map(String) : [];
  const family = FAMILIES.find(({ architectures: own }) => own.some((name) => named.includes(name)));
  if (family) return family;
  throw new SluiceError("config", `${where}: the architecture is not supported`, {
    found: named.length > 0 ? named.join(", ") : "no field architectures",
    expected: FAMILIES.flatMap((f) => f.architectures).join(", "),
    fix: KINDS_NOT_SUPPORTED.find(([pattern]) => named.some((name) => pattern.test(name)))?.[1],
  });
}
