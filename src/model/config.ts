// Reading config.json. Each field is used, known to be without effect on hidden states, or refused by name: a field that
// is silently ignored would give numbers that look right and are not.

import { SluiceError } from "../base/errors.js";

/** A config.json as read. */
export type RawConfig = Readonly<Record<string, unknown>>;

/** No width, count or length of a model is above this; larger ones would only fill the memory. */
const MAX_WHOLE = 2 ** 24;

/** Fields of any family that do not change the hidden states of a forward pass in evaluation mode. */
const HARMLESS = new Set(
  `architectures model_type torch_dtype dtype transformers_version _name_or_path name_or_path _commit_hash use_cache bos_token_id eos_token_id
  pad_token_id unk_token_id sep_token_id cls_token_id mask_token_id decoder_start_token_id tie_word_embeddings initializer_range initializer_factor
  attention_dropout attn_pdrop resid_pdrop embd_pdrop hidden_dropout pretraining_tp task_specific_params summary_type summary_use_proj
  summary_activation summary_proj_to_labels summary_first_dropout gradient_checkpointing n_ctx n_special predict_special_tokens id2label label2id
  problem_type return_dict output_attentions output_hidden_states chunk_size_feed_forward use_return_dict finetuning_task max_window_layers
  reorder_and_upcast_attn is_llama_config transformers.js_config auto_map num_labels tokenizer_class prefix _attn_implementation
  _attn_implementation_autoset attn_implementation unsloth_version unsloth_fixed max_length min_length do_sample temperature top_k top_p
  repetition_penalty num_beams torchscript mlp_only_layers is_decoder classifier_dropout cache_implementation num_logits_to_keep resid_dropout embed_dropout keys_to_ignore_at_inference _flash_attn_2_enabled
  residual_dropout embedding_dropout attention_probs_dropout_prob hidden_dropout_prob _num_labels output_past diversity_penalty
  length_penalty num_beam_groups num_return_sequences no_repeat_ngram_size encoder_no_repeat_ngram_size typical_p early_stopping`.split(
    /\s+/,
  ),
);

/** How checkpoints say that their tensors are quantised. */
const QUANTISED = ["quantization_config", "compression_config"];

/** Reads fields by name, remembers which, and refuses the rest. */
export class ConfigReader {
  readonly #raw: RawConfig;
  readonly #used = new Set<string>();
  readonly #where: string;

  constructor(raw: RawConfig, where: string) {
    this.#raw = raw;
    this.#where = where;
  }

  /** A positive whole number. @param fallback transformers' own default, where there is one. */
  whole(field: string, fallback?: number): number {
    return this.#read(
      field,
      fallback,
      (value): value is number => Number.isInteger(value) && Number(value) > 0 && Number(value) <= MAX_WHOLE,
      `a whole number from 1 to ${MAX_WHOLE}`,
    );
  }

  /** A positive number. */
  positive(field: string, fallback?: number): number {
    return this.#read(
      field,
      fallback,
      (value): value is number => typeof value === "number" && value > 0,
      "a positive number",
    );
  }

  flag(field: string, fallback: boolean): boolean {
    return this.#read(field, fallback, (value) => typeof value === "boolean", "true or false");
  }

  /** One of the values that are supported. */
  choice<T extends string>(field: string, choices: readonly T[], fallback: T): T {
    return this.#read(
      field,
      fallback,
      (value): value is T => choices.some((choice) => choice === value),
      choices.join(" or "),
    );
  }

  /** A config inside the config, to be read and refused as this one is. */
  nested(field: string): ConfigReader {
    const value = this.raw(field);
    const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
    if (!isObject) throw this.refuse(field, "an object");
    return new ConfigReader(value as RawConfig, `${this.#where}: ${field}`);
  }

  /** The field as it is. */
  raw(field: string): unknown {
    this.#used.add(field);
    return this.#raw[field];
  }

  /** Refuses the field unless it has one of the values (or is absent or null) with which it changes nothing. */
  only(field: string, ...harmless: readonly unknown[]): void {
    const value = this.raw(field);
    if (value === undefined || value === null || harmless.includes(value)) return;
    throw this.refuse(field, [null, ...harmless].map((v) => JSON.stringify(v)).join(" or "));
  }

  /** The error for a value that this version does not compute. */
  refuse(field: string, expected: string): SluiceError {
    return new SluiceError(
      "config",
      `${this.#where}: the field ${field} changes the model's results and is not supported with this value`,
      {
        found: this.#raw[field],
        expected,
      },
    );
  }

  /**
   * Refuses fields that nobody has read, unless they are known to be harmless, or switched off; and what no family computes: attention
   * to later tokens, and quantised tensors.
   */
  refuseTheRest(): void {
    this.only("is_causal", true);
    for (const field of QUANTISED) this.#refuseQuantised(field);
    for (const [field, value] of Object.entries(this.#raw)) {
      if (this.#used.has(field) || HARMLESS.has(field) || isOff(value)) continue;
      throw new SluiceError(
        "config",
        `${this.#where}: the field ${field} is not known, and may change the model's results`,
        {
          found: value,
          fix: "Remove it from a copy of config.json if it does not matter.",
        },
      );
    }
  }

  #refuseQuantised(field: string): void {
    const value = this.raw(field);
    if (isOff(value)) return;
    const method =
      typeof value === "object" && value !== null && "quant_method" in value && value.quant_method;
    throw new SluiceError("config", `${this.#where}: the checkpoint is quantised, and that is not read`, {
      found: `${field}${typeof method === "string" ? ` of ${method}` : ""}`,
      expected: "tensors in float32, bfloat16 or float16",
      fix: "Take the checkpoint that it was made from, or a GGUF file.",
    });
  }

  #read<T>(
    field: string,
    fallback: T | undefined,
    fits: (value: unknown) => value is T,
    expected: string,
  ): T {
    const value = this.raw(field) ?? fallback;
    if (fits(value)) return value;
    throw new SluiceError(
      "config",
      `${this.#where}: the field ${field} ${value === undefined ? "is missing" : "has a value that is not supported"}`,
      {
        found: value,
        expected,
      },
    );
  }
}

/** Whether a field says that what it names is not there. */
function isOff(value: unknown): boolean {
  if (typeof value === "object" && value !== null) return Object.keys(value).length === 0;
  return value === undefined || value === null || value === false;
}
