// adapter_config.json of a LoRA adapter as peft writes it. As with config.json, each field is used, known to be without
// effect once the adapter is trained, or refused by name.

import { z } from "zod";
import { SluiceError } from "../base/errors.js";
import { parseJson } from "../base/parse-json.js";

/** Fields that only say how the adapter was trained, or where it came from. Its tensors say what it is. */
const HARMLESS = new Set(
  `peft_type peft_version task_type auto_mapping base_model_name_or_path revision inference_mode lora_dropout target_modules exclude_modules
  layers_to_transform layers_pattern eva_config megatron_core qalora_group_size runtime_config ensure_weight_tying`.split(
    /\s+/,
  ),
);
/** Ways of starting that leave the base model's weights alone. Others (pissa, olora, loftq ...) change what the adapter is added to. */
const PLAIN_STARTS: readonly unknown[] = [true, false, "gaussian", "orthogonal", "eva"];

const schema = z.looseObject({
  peft_type: z.string(),
  r: z.number().int().positive(),
  lora_alpha: z.number().positive(),
  use_rslora: z.boolean().nullish(),
  fan_in_fan_out: z.boolean().nullish(),
  rank_pattern: z.record(z.string(), z.number().int().positive()).nullish(),
  alpha_pattern: z.record(z.string(), z.number().positive()).nullish(),
  bias: z.string().nullish(),
  init_lora_weights: z.unknown(),
});
const USED = new Set(Object.keys(schema.shape));

/** What a config says of the numbers: part of a run's identity. */
export interface AdapterConfig {
  readonly r: number;
  readonly lora_alpha: number;
  readonly use_rslora: boolean;
  readonly fan_in_fan_out: boolean;
  readonly rank_pattern: Readonly<Record<string, number>>;
  readonly alpha_pattern: Readonly<Record<string, number>>;
}

/** Reads adapter_config.json. @param where its name in errors. @throws SluiceError `config` naming a field that is not supported. */
export function parseAdapterConfig(text: string, where: string): AdapterConfig {
  let raw: unknown;
  try {
    raw = parseJson(text);
  } catch (cause) {
    throw new SluiceError("config", `${where} is not JSON`, { fix: "Download it again.", cause });
  }
  const parsed = schema.safeParse(raw);
  if (!parsed.success)
    throw new SluiceError(
      "config",
      `${where} is no config of a LoRA adapter: ${z.prettifyError(parsed.error)}`,
    );
  const config = parsed.data;
  const refuse = (field: string, found: unknown, expected: string) =>
    new SluiceError("config", `${where}: the field ${field} has a value that is not supported`, {
      found,
      expected,
    });
  if (config.peft_type !== "LORA") throw refuse("peft_type", config.peft_type, "LORA");
  if (config.bias != null && config.bias !== "none") throw refuse("bias", config.bias, "none");
  const start = config.init_lora_weights ?? true;
  if (!PLAIN_STARTS.includes(start))
    throw refuse(
      "init_lora_weights",
      start,
      "true: convert the adapter with peft's path_initial_model_for_weight_conversion",
    );
  for (const [field, value] of Object.entries(config)) {
    if (USED.has(field) || HARMLESS.has(field) || isOff(value)) continue;
    throw refuse(field, value, "null, false or nothing");
  }
  return {
    r: config.r,
    lora_alpha: config.lora_alpha,
    use_rslora: config.use_rslora ?? false,
    fan_in_fan_out: config.fan_in_fan_out ?? false,
    rank_pattern: config.rank_pattern ?? {},
    alpha_pattern: config.alpha_pattern ?? {},
  };
}

/** What B A is multiplied by in a module of that name: alpha / r, or alpha / sqrt(r) (Kalajdzievski 2023). @param rank rows of A. */
export function scaleOf(config: AdapterConfig, module: string, rank: number): number {
  const alpha = matching(config.alpha_pattern, module) ?? config.lora_alpha;
  return alpha / (config.use_rslora ? Math.sqrt(rank) : rank);
}

/** The rank that the config says a module has. */
export function rankOf(config: AdapterConfig, module: string): number {
  return matching(config.rank_pattern, module) ?? config.r;
}

/** peft takes keys for regular expressions at a name's end; names in them are what people write. */
function matching(pattern: Readonly<Record<string, number>>, module: string): number | undefined {
  return Object.entries(pattern).find(([key]) => module === key || module.endsWith(`.${key}`))?.[1];
}

function isOff(value: unknown): boolean {
  if (value === null || value === undefined || value === false) return true;
  return typeof value === "object" && Object.keys(value).length === 0;
}
