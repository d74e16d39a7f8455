// Rotary positions, with the scalings that long-context checkpoints ask for, as transformers computes them
// (modeling_rope_utils.py), from either spelling of a config.

import { z } from "zod";
import { SluiceError } from "../base/errors.js";
import type { Rope } from "../graph/builder.js";
import type { ConfigReader } from "./config.js";
import type { LayerType } from "./layer-types.js";

const optional = z.number().nullish();
/** All that a supported kind may say; another member might change the frequencies, and is refused. */
const parametersSchema = z.strictObject({
  rope_type: z.string().optional(),
  type: z.string().optional(),
  rope_theta: optional,
  factor: optional,
  low_freq_factor: optional,
  high_freq_factor: optional,
  original_max_position_embeddings: optional,
  partial_rotary_factor: optional,
  attention_factor: optional,
  beta_fast: optional,
  beta_slow: optional,
  mscale: optional,
  mscale_all_dim: optional,
  truncate: z.boolean().nullish(),
  /** Written by old YaRN checkpoints, read by nobody. */
  finetuned: z.boolean().nullish(),
});
/** transformers reads nothing else there in families that have one for each kind of layer. */
const byLayerTypeSchema = z.strictObject({
  full_attention: z.unknown(),
  sliding_attention: z.unknown(),
} satisfies Record<LayerType, unknown>);
type Parameters = z.infer<typeof parametersSchema>;

const SCALINGS: Readonly<Record<string, (head: Head, p: Parameters) => Rope>> = {
  default: ({ plain }) => ({ frequencies: plain, amplitude: 1 }),
  linear: scaleLinearly,
  llama3: scaleLlama3,
  yarn: scaleYarn,
};

/** What a scaling starts from. */
interface Head {
  /** Elements of a head that are turned. */
  readonly rotary: number;
  readonly base: number;
  /** 1 / base^(2i / rotary), rounded where transformers rounds: a last place is 1e-4 radians at position 2000. */
  readonly plain: readonly number[];
}

/** What a family does in its own way. */
export interface RopeDefaults {
  /** Base where the config names none. */
  readonly base?: number;
  /** Turned share of a head where the config names none. Families that say none here turn whole heads, whatever a config says. */
  readonly share?: number;
  /** Names of these fields in the family's older configs. */
  readonly baseField?: string;
  readonly shareField?: string;
  /** The kind of layer whose entry of `rope_parameters` is wanted, in families that have one for each. */
  readonly layerType?: LayerType;
  /** Whether it is unclear for which layers a base beside the parameters is meant, where it is not the family's. */
  readonly refusesOtherBase?: boolean;
  /** Whether the older spelling's `rope_scaling` is meant for these layers (Gemma 3: for full attention alone). */
  readonly takesOldScaling?: boolean;
}

/**
 * The rotary positions of one head.
 * Reads `rope_parameters` (transformers 5), or `rope_theta`, `rope_scaling` and `partial_rotary_factor` (before).
 * @throws SluiceError `config` naming a scaling that is not supported, or a number that is missing.
 */
export function readRope(config: ConfigReader, headWidth: number, defaults: RopeDefaults = {}): Rope {
  const { baseField = "rope_theta", shareField = "partial_rotary_factor", takesOldScaling = true } = defaults;
  const older = config.raw("rope_scaling");
  const newer = chooseEntry(config, defaults.layerType);
  if (older != null && newer != null && JSON.stringify(older) !== JSON.stringify(newer))
    throw config.refuse("rope_scaling", "nothing, beside rope_parameters");
  // There transformers merges it into entries that have a rope_type, and does not see the older word.
  if (defaults.layerType && typeof older === "object" && older !== null && !("rope_type" in older))
    throw config.refuse("rope_scaling", "an object with rope_type (type is not read in this family)");
  const p = parseParameters(config, newer ?? (takesOldScaling ? older : null) ?? {});
  // A base or share among the parameters wins over the field beside them.
  const beside = { base: optionalNumber(config, baseField), share: optionalNumber(config, shareField) };
  const isOther = beside.base !== undefined && beside.base !== defaults.base;
  if (defaults.refusesOtherBase && p.rope_theta == null && isOther)
    throw config.refuse(
      baseField,
      `${defaults.base}, or rope_parameters with a rope_theta for each kind of layer: transformers 4 takes it for all layers, 5 for full attention alone`,
    );
  const base = p.rope_theta ?? beside.base ?? defaults.base ?? 10_000;
  if (!(base > 0 && Number.isFinite(base))) throw config.refuse(baseField, "a positive number");
  const share = p.partial_rotary_factor ?? beside.share ?? defaults.share ?? 1;
  if (defaults.share === undefined && share !== 1)
    throw refuseShare(config, share, "1: transformers turns whole heads in this family");
  const rotary = Math.floor(headWidth * share);
  if (rotary % 2 !== 0 || rotary < 2 || rotary > headWidth)
    throw refuseShare(config, share, `a share of a head of ${headWidth} that is an even number of elements`);
  const { fround } = Math;
  const plain = Array.from({ length: rotary / 2 }, (_, i) =>
    fround(1 / fround(base ** fround((2 * i) / rotary))),
  );
  const type = p.rope_type ?? p.type ?? "default";
  const scale = Object.hasOwn(SCALINGS, type) ? SCALINGS[type] : undefined;
  if (!scale) throw refuseType(type);
  const { frequencies, amplitude } = scale({ rotary, base, plain }, withContext(config, type, p));
  return { frequencies: frequencies.map(fround), amplitude };
}

/** `rope_parameters`, of the wanted kind of layer in families that have an entry for each. */
function chooseEntry(config: ConfigReader, layerType: LayerType | undefined): unknown {
  const parameters = config.raw("rope_parameters");
  if (layerType === undefined || parameters == null) return parameters;
  const parsed = byLayerTypeSchema.safeParse(parameters);
  if (parsed.success) return parsed.data[layerType];
  throw config.refuse("rope_parameters", "full_attention and sliding_attention, each with its own");
}

function parseParameters(config: ConfigReader, value: unknown): Parameters {
  const parsed = parametersSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const named = z
    .looseObject({ rope_type: z.string().optional(), type: z.string().optional() })
    .safeParse(value);
  const type = named.data?.rope_type ?? named.data?.type ?? "default";
  if (!Object.hasOwn(SCALINGS, type)) throw refuseType(type);
  const field = config.raw("rope_parameters") == null ? "rope_scaling" : "rope_parameters";
  throw config.refuse(field, `an object of known members (${z.prettifyError(parsed.error)})`);
}

function refuseShare(config: ConfigReader, share: number, expected: string): SluiceError {
  const field = config.raw("rope_parameters") == null ? "" : " of rope_parameters";
  return new SluiceError("config", `the model's partial_rotary_factor${field} is not supported`, {
    found: share,
    expected,
  });
}

function refuseType(type: string): SluiceError {
  return new SluiceError("config", "the model's rope scaling is not supported", {
    found: type,
    expected: Object.keys(SCALINGS).join(", "),
  });
}

/** The context before it was extended: where the scaling does not say, a field beside it, or the whole one. */
function withContext(config: ConfigReader, type: string, p: Parameters): Parameters {
  const beside = optionalNumber(config, "original_max_position_embeddings");
  if (type === "default" || type === "linear") return p;
  const whole = optionalNumber(config, "max_position_embeddings");
  return {
    ...p,
    original_max_position_embeddings: beside ?? p.original_max_position_embeddings ?? whole,
  };
}

function scaleLinearly({ plain }: Head, p: Parameters): Rope {
  const factor = need(p, "factor");
  return { frequencies: plain.map((frequency) => frequency / factor), amplitude: 1 };
}

/** Llama 3.1: low frequencies are divided by the factor, high ones stay, those between are interpolated. */
function scaleLlama3({ plain }: Head, p: Parameters): Rope {
  const factor = need(p, "factor");
  const [low, high] = [need(p, "low_freq_factor"), need(p, "high_freq_factor")];
  const context = need(p, "original_max_position_embeddings");
  const frequencies = plain.map((frequency) => {
    const wavelength = (2 * Math.PI) / frequency;
    if (wavelength < context / high) return frequency;
    if (wavelength > context / low) return frequency / factor;
    const smooth = (context / wavelength - low) / (high - low);
    return ((1 - smooth) * frequency) / factor + smooth * frequency;
  });
  return { frequencies, amplitude: 1 };
}

/** YaRN (Peng et al. 2023): interpolation where few turns fit into the context, none where many do, a ramp between them. */
function scaleYarn({ rotary, base, plain }: Head, p: Parameters): Rope {
  const factor = need(p, "factor");
  const context = need(p, "original_max_position_embeddings");
  // The element whose frequency makes so many turns within the context.
  const elementOf = (turns: number) =>
    (rotary * Math.log(context / (turns * 2 * Math.PI))) / (2 * Math.log(base));
  const [first, last] = [elementOf(p.beta_fast || 32), elementOf(p.beta_slow || 1)];
  const truncate = p.truncate ?? true;
  const from = Math.max(truncate ? Math.floor(first) : first, 0);
  const to = Math.min(truncate ? Math.ceil(last) : last, rotary - 1);
  const length = to === from ? 0.001 : to - from;
  const frequencies = plain.map((frequency, i) => {
    const interpolated = Math.min(1, Math.max(0, (i - from) / length));
    return (frequency / factor) * interpolated + frequency * (1 - interpolated);
  });
  const grow = (by: number) => (factor <= 1 ? 1 : 0.1 * by * Math.log(factor) + 1);
  const { mscale, mscale_all_dim: all } = p;
  const amplitude = p.attention_factor ?? (mscale && all ? grow(mscale) / grow(all) : grow(1));
  return { frequencies, amplitude };
}

function need(p: Parameters, name: keyof Parameters & string): number {
  const value = p[name];
  if (typeof value === "number" && value > 0) return value;
  throw new SluiceError("config", `the model's rope scaling lacks the number ${name}`, {
    found: p,
    expected: "a positive number",
  });
}

function optionalNumber(config: ConfigReader, field: string): number | undefined {
  const value = config.raw(field);
  if (value === undefined || value === null) return undefined;
  if (typeof value === "number") return value;
  throw config.refuse(field, "a number");
}
