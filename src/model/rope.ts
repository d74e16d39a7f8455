// Rotary frequencies, with the scaling that long-context checkpoints ask for, as transformers computes them
// (modeling_rope_utils.py), from either spelling of a config.

import { z } from "zod";
import { SluiceError } from "../base/errors.js";
import type { ConfigReader } from "./config.js";

const parametersSchema = z.object({
  rope_type: z.string().optional(),
  type: z.string().optional(),
  rope_theta: z.number().positive().optional(),
  factor: z.number().positive().optional(),
  low_freq_factor: z.number().positive().optional(),
  high_freq_factor: z.number().positive().optional(),
  original_max_position_embeddings: z.number().positive().optional(),
  partial_rotary_factor: z.number().optional(),
});

/**
 * The frequencies of one head, radians a position, one a pair of elements.
 * Reads `rope_parameters` (transformers 5), or `rope_theta` and `rope_scaling` (before).
 * @throws SluiceError `config` naming a scaling that is not supported.
 */
export function ropeFrequencies(config: ConfigReader, headWidth: number): number[] {
  const newer = config.raw("rope_parameters");
  const older = config.raw("rope_scaling");
  const theta = config.raw("rope_theta");
  const parsed = parametersSchema.safeParse(newer ?? older ?? {});
  if (!parsed.success)
    throw config.refuse(newer ? "rope_parameters" : "rope_scaling", "an object of numbers");
  const p = parsed.data;
  if (p.partial_rotary_factor !== undefined && p.partial_rotary_factor !== 1)
    throw config.refuse("rope_parameters", "no partial_rotary_factor");
  const base = p.rope_theta ?? (typeof theta === "number" ? theta : 10_000);
  const plain = Array.from({ length: headWidth / 2 }, (_, i) => base ** ((-2 * i) / headWidth));
  const type = p.rope_type ?? p.type ?? "default";
  if (type === "default") return plain;
  if (type === "llama3") return scaleLlama3(plain, p);
  throw new SluiceError("config", "the model's rope scaling is not supported", {
    found: type,
    expected: "default or llama3",
  });
}

/** Llama 3.1: low frequencies are divided by the factor, high ones stay, those between are interpolated. */
function scaleLlama3(frequencies: readonly number[], p: z.infer<typeof parametersSchema>): number[] {
  const {
    factor,
    low_freq_factor: low,
    high_freq_factor: high,
    original_max_position_embeddings: context,
  } = p;
  if (factor === undefined || low === undefined || high === undefined || context === undefined) {
    throw new SluiceError("config", "the model's llama3 rope scaling lacks a number", {
      found: p,
      expected: "factor, low_freq_factor, high_freq_factor, original_max_position_embeddings",
    });
  }
  return frequencies.map((frequency) => {
    const wavelength = (2 * Math.PI) / frequency;
    if (wavelength < context / high) return frequency;
    if (wavelength > context / low) return frequency / factor;
    const smooth = (context / wavelength - low) / (high - low);
    return ((1 - smooth) * frequency) / factor + smooth * frequency;
  });
}
