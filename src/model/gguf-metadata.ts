// The metadata of a GGUF file, read field by field. As with config.json, each field of the architecture is used, known to
// be without effect on hidden states, or refused by name.

import { SluiceError } from "../base/errors.js";
import type { GgufHeader, GgufValue } from "../base/gguf-header.js";

/** Fields of an architecture that change nothing here. */
const HARMLESS = new Set(["vocab_size", "rope.scaling.finetuned", "tensor_data_layout"]);

/** Reads fields by name under the architecture's own prefix, remembers which, and refuses the rest. */
export class GgufMetadata {
  /** `general.architecture`. */
  readonly architecture: string;
  readonly #header: GgufHeader;
  readonly #where: string;
  readonly #used = new Set<string>();
  readonly #tensors: ReadonlyMap<string, readonly number[]>;

  /** @throws SluiceError `config` where the file names no architecture, or is not a whole model. */
  constructor(header: GgufHeader, where: string) {
    this.#header = header;
    this.#where = where;
    this.#tensors = new Map(header.tensors.map((tensor) => [tensor.name, tensor.shape]));
    const { metadata } = header;
    const architecture = metadata.get("general.architecture");
    if (typeof architecture !== "string") throw this.#fail("general.architecture is missing");
    this.architecture = architecture;
    const type = metadata.get("general.type") ?? "model";
    if (type !== "model") throw this.#fail("this is no model", type, "general.type model");
    if (Number(metadata.get("split.count") ?? 1) > 1) {
      const fix = "Join the parts with llama-gguf-split --merge.";
      throw this.#fail("this is one part of a model", metadata.get("split.count"), "one file", fix);
    }
  }

  /** Rows of the embedding table. */
  get vocabulary(): number {
    const rows = this.#tensors.get("token_embd.weight")?.[0];
    if (rows === undefined) throw this.#fail("the tensor token_embd.weight is missing");
    return rows;
  }

  hasTensor(name: string): boolean {
    return this.#tensors.has(name);
  }

  /** A positive whole number; a list of one for each layer where all are the same. */
  whole(field: string, fallback?: number): number {
    const value = sole(this.#read(field)) ?? fallback;
    if (typeof value === "number" && Number.isInteger(value) && value > 0) return value;
    throw this.#refuse(field, value, "a positive whole number");
  }

  /** A positive number, as a person would have written the float32 in the file. */
  positive(field: string, fallback?: number): number {
    const value = this.#read(field) ?? fallback;
    if (typeof value === "number" && value > 0 && Number.isFinite(value)) return shortest(value);
    throw this.#refuse(field, value, "a positive number");
  }

  /** Refuses the field unless it is absent or has this value. */
  only(field: string, harmless: GgufValue): void {
    const value = this.#read(field);
    if (value !== undefined && value !== harmless) throw this.#refuse(field, value, String(harmless));
  }

  /**
   * transformers' `rope_parameters`. @param factors the values of rope_freqs.weight, by which Llama 3.1 and later say
   * their scaling; null where there is none. @throws SluiceError `config` for a scaling that is not known.
   */
  rope(headWidth: number, factors: Float32Array | null): Record<string, unknown> {
    const base = this.positive("rope.freq_base", 10_000);
    if (factors) return { rope_theta: base, ...this.#readLlama3(factors, base, headWidth) };
    const type = this.#read("rope.scaling.type") ?? "none";
    const older = this.#read("rope.scale_linear");
    if (type === "none" && older === undefined) {
      this.only("rope.scaling.factor", 1);
      return { rope_theta: base, rope_type: "default" };
    }
    const factor =
      older === undefined ? this.positive("rope.scaling.factor") : this.positive("rope.scale_linear");
    if (type === "linear" || type === "none") return { rope_theta: base, rope_type: "linear", factor };
    if (type !== "yarn") throw this.#refuse("rope.scaling.type", type, "none, linear or yarn");
    const original_max_position_embeddings = this.whole("rope.scaling.original_context_length");
    return { rope_theta: base, rope_type: "yarn", factor, original_max_position_embeddings };
  }

  /** The ids that config.json would name. */
  specialIds(): Record<string, unknown> {
    const id = (name: string) => this.#header.metadata.get(`tokenizer.ggml.${name}_token_id`);
    return { bos_token_id: id("bos") ?? null, eos_token_id: id("eos") ?? null };
  }

  /** Refuses fields of the architecture that nobody has read, unless they are without effect, or switched off. */
  refuseTheRest(): void {
    const prefix = `${this.architecture}.`;
    for (const [key, value] of this.#header.metadata) {
      if (!key.startsWith(prefix)) continue;
      const field = key.slice(prefix.length);
      if (this.#used.has(field) || HARMLESS.has(field) || value === 0 || value === false) continue;
      throw this.#fail(`the field ${key} is not known, and may change the model's results`, value);
    }
  }

  /** llama.cpp's converter writes 1, the factor, or what lies between: Llama 3's formula is solved for the context it was scaled from. */
  #readLlama3(factors: Float32Array, base: number, headWidth: number): Record<string, unknown> {
    const [low, high] = [1, 4]; // Of every Llama 3.
    const wavelengths = [...factors].map((_, i) => 2 * Math.PI * base ** ((2 * i) / headWidth));
    const factor = shortest(Math.max(...factors));
    const between = factors.findIndex((f) => f > 1.001 && f < factor * 0.999);
    const smooth = (1 / (factors[between] ?? Number.NaN) - 1 / factor) / (1 - 1 / factor);
    const context = Math.round((wavelengths[between] ?? Number.NaN) * (smooth * (high - low) + low));
    const fits = wavelengths.every((w, i) => {
      const s = Math.min(1, Math.max(0, (context / w - low) / (high - low)));
      return Math.abs((factors[i] ?? Number.NaN) * ((1 - s) / factor + s) - 1) < 1e-4;
    });
    if (factors.length !== headWidth / 2 || !fits) {
      throw this.#fail(
        "the tensor rope_freqs.weight scales the rotary frequencies in a way that is not known",
        [...factors.subarray(0, 8)],
      );
    }
    const scale = { low_freq_factor: low, high_freq_factor: high, original_max_position_embeddings: context };
    return { rope_type: "llama3", factor, ...scale };
  }

  #read(field: string): GgufValue | undefined {
    this.#used.add(field);
    return this.#header.metadata.get(`${this.architecture}.${field}`);
  }

  #refuse(field: string, found: unknown, expected: string): SluiceError {
    const what = found === undefined ? "is missing" : "has a value that is not supported";
    return this.#fail(`the field ${this.architecture}.${field} ${what}`, found, expected);
  }

  #fail(what: string, found?: unknown, expected?: string, fix?: string): SluiceError {
    const shown = typeof found === "bigint" ? String(found) : found;
    return new SluiceError("config", `${this.#where}: ${what}`, { found: shown, expected, fix });
  }
}

function sole(value: GgufValue | undefined): GgufValue | undefined {
  if (!Array.isArray(value)) return value;
  return value.every((item) => item === value[0]) ? value[0] : value;
}

/** The shortest decimal that is the same float32: 1e-5, not 0.000009999999747378752. */
function shortest(value: number): number {
  for (let digits = 1; digits < 9; digits++) {
    const rounded = Number(value.toPrecision(digits));
    if (Math.fround(rounded) === Math.fround(value)) return rounded;
  }
  return value;
}
