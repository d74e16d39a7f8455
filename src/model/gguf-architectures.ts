// What GGUF files call things, and what Hugging Face calls them: one entry an architecture (general.architecture). The
// metadata becomes the config.json that the family's own file reads, so that a GGUF is held to the same rules.
// Names: ggml-org/llama.cpp, gguf-py/gguf/tensor_mapping.py. What its converter changes in the tensors: conversion/*.py.

import type { RawConfig } from "./config.js";
import type { GgufMetadata } from "./gguf-metadata.js";

/** What the converter did to a tensor, and must be undone. */
export type GgufChange =
  /** The rows of each head lie interleaved for llama.cpp's rotary embedding: row 2i is row i, row 2i + 1 is row i + half. */
  | { readonly kind: "interleaved"; readonly heads: number }
  /** Stored [out, in]; the family wants [in, out] (Conv1D). */
  | { readonly kind: "transposed" };

/** What a config is made from. */
export interface GgufSource {
  readonly m: GgufMetadata;
  /** The values of `rope_freqs.weight`, where the file has it. */
  readonly ropeFactors: Float32Array | null;
}

/** One architecture. */
export interface GgufArchitecture {
  /** Names without `.weight` and `.bias`: GGUF's to Hugging Face's, as the family file spells them. `{}` is the layer. */
  readonly names: Readonly<Record<string, string>>;
  /** The config.json of the checkpoint that the file was made from. */
  config(source: GgufSource): RawConfig;
  /** What the converter did to a tensor of that Hugging Face name (layer as `{}`). */
  change?(name: string, config: RawConfig): GgufChange | undefined;
}

const LLAMA_NAMES = {
  token_embd: "embed_tokens",
  output_norm: "norm",
  output: "lm_head",
  "blk.{}.attn_norm": "layers.{}.input_layernorm",
  "blk.{}.attn_q": "layers.{}.self_attn.q_proj",
  "blk.{}.attn_k": "layers.{}.self_attn.k_proj",
  "blk.{}.attn_v": "layers.{}.self_attn.v_proj",
  "blk.{}.attn_output": "layers.{}.self_attn.o_proj",
  "blk.{}.ffn_norm": "layers.{}.post_attention_layernorm",
  "blk.{}.ffn_gate": "layers.{}.mlp.gate_proj",
  "blk.{}.ffn_up": "layers.{}.mlp.up_proj",
  "blk.{}.ffn_down": "layers.{}.mlp.down_proj",
} as const;

/** What Llama's descendants have in common. */
function gatedConfig({ m, ropeFactors }: GgufSource, architecture: string, modelType: string): RawConfig {
  const width = m.whole("embedding_length");
  const heads = m.whole("attention.head_count");
  const headWidth = m.whole("attention.key_length", m.whole("rope.dimension_count", width / heads));
  m.only("attention.value_length", headWidth);
  m.only("rope.dimension_count", headWidth);
  return {
    architectures: [architecture],
    model_type: modelType,
    hidden_size: width,
    intermediate_size: m.whole("feed_forward_length"),
    num_hidden_layers: m.whole("block_count"),
    num_attention_heads: heads,
    num_key_value_heads: m.whole("attention.head_count_kv", heads),
    head_dim: headWidth,
    vocab_size: m.vocabulary,
    max_position_embeddings: m.whole("context_length"),
    rms_norm_eps: m.positive("attention.layer_norm_rms_epsilon"),
    rope_parameters: m.rope(headWidth, ropeFactors),
    hidden_act: "silu",
    tie_word_embeddings: !m.hasTensor("output.weight"),
    ...m.specialIds(),
  };
}

/** llama.cpp's converter interleaves the rows of q and k for Llama and what it derives from it. */
function interleavedHeads(name: string, config: RawConfig): GgufChange | undefined {
  if (name.includes("q_proj")) return { kind: "interleaved", heads: Number(config.num_attention_heads) };
  if (name.includes("k_proj")) return { kind: "interleaved", heads: Number(config.num_key_value_heads) };
  return undefined;
}

/** All architectures that this version reads. */
export const GGUF_ARCHITECTURES: Readonly<Record<string, GgufArchitecture>> = {
  // Llama, and Mistral and others that are built like it.
  llama: {
    names: LLAMA_NAMES,
    config: (source) => ({
      ...gatedConfig(source, "LlamaForCausalLM", "llama"),
      attention_bias: source.m.hasTensor("blk.0.attn_q.bias"),
      mlp_bias: source.m.hasTensor("blk.0.ffn_up.bias"),
    }),
    change: interleavedHeads,
  },
  qwen2: { names: LLAMA_NAMES, config: (source) => gatedConfig(source, "Qwen2ForCausalLM", "qwen2") },
  qwen3: {
    names: {
      ...LLAMA_NAMES,
      "blk.{}.attn_q_norm": "layers.{}.self_attn.q_norm",
      "blk.{}.attn_k_norm": "layers.{}.self_attn.k_norm",
    },
    config: (source) => gatedConfig(source, "Qwen3ForCausalLM", "qwen3"),
  },
  olmo2: {
    names: {
      token_embd: "embed_tokens",
      output_norm: "norm",
      output: "lm_head",
      "blk.{}.attn_q": "layers.{}.self_attn.q_proj",
      "blk.{}.attn_k": "layers.{}.self_attn.k_proj",
      "blk.{}.attn_v": "layers.{}.self_attn.v_proj",
      "blk.{}.attn_q_norm": "layers.{}.self_attn.q_norm",
      "blk.{}.attn_k_norm": "layers.{}.self_attn.k_norm",
      "blk.{}.attn_output": "layers.{}.self_attn.o_proj",
      "blk.{}.post_attention_norm": "layers.{}.post_attention_layernorm",
      "blk.{}.ffn_gate": "layers.{}.mlp.gate_proj",
      "blk.{}.ffn_up": "layers.{}.mlp.up_proj",
      "blk.{}.ffn_down": "layers.{}.mlp.down_proj",
      "blk.{}.post_ffw_norm": "layers.{}.post_feedforward_layernorm",
    },
    config: (source) => gatedConfig(source, "Olmo2ForCausalLM", "olmo2"),
  },
  granite: {
    names: LLAMA_NAMES,
    config: (source) => ({
      ...gatedConfig(source, "GraniteForCausalLM", "granite"),
      attention_multiplier: source.m.positive("attention.scale", 1),
      embedding_multiplier: source.m.positive("embedding_scale", 1),
      residual_multiplier: source.m.positive("residual_scale", 1),
      logits_scaling: source.m.positive("logit_scale", 1),
      attention_bias: source.m.hasTensor("blk.0.attn_q.bias"),
      mlp_bias: source.m.hasTensor("blk.0.ffn_up.bias"),
    }),
    change: interleavedHeads,
  },
  gpt2: {
    names: {
      token_embd: "wte",
      position_embd: "wpe",
      output_norm: "ln_f",
      output: "lm_head",
      "blk.{}.attn_norm": "h.{}.ln_1",
      "blk.{}.attn_qkv": "h.{}.attn.c_attn",
      "blk.{}.attn_output": "h.{}.attn.c_proj",
      "blk.{}.ffn_norm": "h.{}.ln_2",
      "blk.{}.ffn_up": "h.{}.mlp.c_fc",
      "blk.{}.ffn_down": "h.{}.mlp.c_proj",
    },
    config: ({ m }) => ({
      architectures: ["GPT2LMHeadModel"],
      model_type: "gpt2",
      n_embd: m.whole("embedding_length"),
      n_head: m.whole("attention.head_count"),
      n_layer: m.whole("block_count"),
      n_positions: m.whole("context_length"),
      n_inner: m.whole("feed_forward_length"),
      layer_norm_epsilon: m.positive("attention.layer_norm_epsilon"),
      vocab_size: m.vocabulary,
      activation_function: "gelu_new",
      ...m.specialIds(),
    }),
    change: (name) => (/\.(c_attn|c_proj|c_fc)\.weight$/.test(name) ? { kind: "transposed" } : undefined),
  },
};
