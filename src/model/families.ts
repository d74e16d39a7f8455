// The registry of model families: one line each.

import { SluiceError } from "../base/errors.js";
import type { RawConfig } from "./config.js";
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
import { phi } from "./phi.js";
import { phi3 } from "./phi3.js";
import { qwen2 } from "./qwen2.js";
import { qwen3 } from "./qwen3.js";
import { smollm3 } from "./smollm3.js";
import { starcoder2 } from "./starcoder2.js";

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
  smollm3,
  starcoder2,
  phi,
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
  [/Bert|Bart|T5/, "Only decoders are computed."],
];

/** Classes of transformers that put another head on the same decoder. */
const OTHER_HEADS = /For(SequenceClassification|TokenClassification|QuestionAnswering)$/;

/** The family of a config. @throws SluiceError `config` naming its architecture and what is supported. */
export function findFamily(config: RawConfig, where: string): Family {
  const { architectures, model_type: type } = config;
  const named: string[] = Array.isArray(architectures) ? architectures.map(String) : [];
  const decoders = named.map((name) => name.replace(OTHER_HEADS, "Model"));
  const family = FAMILIES.find(({ architectures: own }) => own.some((name) => decoders.includes(name)));
  if (!family) {
    throw new SluiceError("config", `${where}: the architecture is not supported`, {
      found: named.length > 0 ? named.join(", ") : "no field architectures",
      expected: FAMILIES.flatMap((f) => f.architectures).join(", "),
      fix: KINDS_NOT_SUPPORTED.find(([pattern]) => named.some((name) => pattern.test(name)))?.[1],
    });
  }
  // transformers goes by model_type: where that is another family's, the numbers would be of another model.
  if (type === family.name || !FAMILIES.some(({ name }) => name === type)) return family;
  throw new SluiceError("config", `${where}: architectures and model_type name different families`, {
    found: `${named.join(", ")} and ${type}`,
    fix: "Correct the one that is wrong, in a copy of config.json.",
  });
}
