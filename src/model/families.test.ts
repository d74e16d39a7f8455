// Configs: what they mean where they leave fields out, and what is refused by name instead of being ignored.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { GraphBuilder } from "../graph/builder.js";
import { dumpGraph } from "../graph/graph.js";
import { ConfigReader, type RawConfig } from "./config.js";
import { findFamily } from "./families.js";
import { hookPoints } from "./hooks.js";

const FIXTURES = new URL("../../test/fixtures/", import.meta.url);
const configSchema = z.record(z.string(), z.unknown());

function readJson(path: string): RawConfig {
  return configSchema.parse(JSON.parse(readFileSync(fileURLToPath(new URL(path, FIXTURES)), "utf8")));
}

/** The whole graph of a config, as text. */
function graphOf(config: RawConfig): string {
  const reader = new ConfigReader(config, "config.json");
  const shape = findFamily(config, "config.json").read(reader);
  reader.refuseTheRest();
  const taps = hookPoints(shape.build).map((point) => point.name);
  const builder = new GraphBuilder(null, { taps, selection: "rows", tapDType: "float32" });
  shape.build(builder);
  return `${shape.vocabulary} tokens, ${shape.maxPositions} positions\n${dumpGraph(builder.finish())}`;
}

describe("a config that leaves fields out", () => {
  const defaults = z.record(z.string(), configSchema).parse(readJson("model-defaults.json"));
  it.each(Object.entries(defaults))("means what transformers means by it (%s)", (name, config) => {
    const written = graphOf({ architectures: [name], ...config });
    expect(written.length).toBeGreaterThan(5000);
    expect(graphOf({ architectures: [name] })).toBe(written);
  });
});

describe("a config that says what is not computed", () => {
  it.each<[string, RawConfig, RegExp]>([
    [
      "llama2-all-heads",
      { rope_scaling: { type: "dynamic", factor: 2 } },
      /scaling is not supported; found dynamic/,
    ],
    ["llama3-scaled", { rope_parameters: { rope_type: "proportional" } }, /scaling is not supported/],
    [
      "llama3-scaled",
      { rope_scaling: { rope_type: "linear", factor: 2 } },
      /rope_scaling.*beside rope_parameters/,
    ],
    ["llama3-scaled", { rope_parameters: { rope_type: "linear" } }, /lacks the number factor/],
    ["llama3-scaled", { rope_parameters: { mrope_section: [1, 2] } }, /rope_parameters.*mrope_section/],
    ["llama3-scaled", { hidden_act: "relu2" }, /hidden_act.*found relu2/],
    ["llama3-scaled", { sliding_window: 4096 }, /sliding_window is not known/],
    ["llama3-scaled", { attn_logit_softcapping: 50 }, /attn_logit_softcapping is not known/],
    [
      "llama3-scaled",
      { quantization_config: { quant_method: "gptq", bits: 4 } },
      /quantised.*found quantization_config of gptq/,
    ],
    ["gemma3-with-images", { quantization_config: { quant_method: "fp8" } }, /quantised.*of fp8/],
    ["llama3-scaled", { compression_config: { format: "pack-quantized" } }, /quantised.*compression_config/],
    ["llama3-scaled", { is_causal: false }, /is_causal.*found false/],
    ["gpt2", { is_causal: false }, /is_causal.*found false/],
    ["llama3-scaled", { model_type: "mistral" }, /different families; found LlamaForCausalLM and mistral/],
    ["llama3-scaled", { rope_interleaved: true }, /rope_interleaved/],
    [
      "llama3-scaled",
      { partial_rotary_factor: 0.5 },
      /partial_rotary_factor.*found 0.5; expected 1: .*whole/,
    ],
    [
      "llama3-scaled",
      { rope_parameters: { rope_theta: 50, partial_rotary_factor: 0.5 } },
      /partial_rotary_factor of rope_parameters.*found 0.5; expected 1/,
    ],
    ["pythia", { rotary_pct: 0.2 }, /partial_rotary_factor.*found 0.2.*even number of elements/],
    ["llama3-scaled", { layer_types: ["full_attention", "full_attention"] }, /layer_types is not known/],
    ["llama3-scaled", { num_attention_heads: -1 }, /num_attention_heads/],
    ["mistral", { layer_types: ["sliding_attention", "full_attention"] }, /layer_types is not known/],
    ["mistral", { sliding_window: 2.5 }, /sliding_window/],
    ["qwen3", { layer_types: ["sliding_attention", "full_attention"] }, /sliding_window.*layer_types names/],
    ["qwen3", { layer_types: ["full_attention", "linear_attention"] }, /layer_types/],
    ["gemma2", { layer_types: ["full_attention"] }, /layer_types.*3 times/],
    ["gemma2", { use_bidirectional_attention: true }, /use_bidirectional_attention/],
    ["gemma2", { attn_logit_softcapping: -1 }, /attn_logit_softcapping/],
    ["gemma2", { sliding_window_size: 5 }, /sliding_window_size.*found 5; expected null or 4/],
    [
      "gemma3",
      { rope_parameters: { rope_theta: 50 } },
      /rope_parameters.*full_attention and sliding_attention/,
    ],
    ["olmo3", { rope_parameters: { rope_type: "default" } }, /rope_parameters.*full_attention and sliding/],
    ["olmo3", { rope_parameters: null, rope_theta: 10_000 }, /rope_theta.*found 10000; expected 500000, or/],
    [
      "olmo3",
      { rope_parameters: { full_attention: { rope_theta: 7 }, sliding_attention: {} }, rope_theta: 10_000 },
      /rope_theta.*found 10000; expected 500000, or/,
    ],
    [
      "gemma3-with-images",
      { text_config: { rope_scaling: { type: "linear", factor: 8 } } },
      /rope_scaling.*with rope_type/,
    ],
    ["smollm3", { no_rope_layers: [1] }, /no_rope_layers.*2 layers/],
    ["smollm3", { no_rope_layers: [1, 2] }, /no_rope_layers/],
    ["smollm3", { use_sliding_window: false }, /sliding_window.*layer_types names/],
    ["phi", { qk_layernorm: true }, /qk_layernorm/],
    ["gemma3", { attn_logit_softcapping: 50 }, /attn_logit_softcapping.*found 50; expected null/],
    [
      "phi3",
      { rope_parameters: { rope_type: "longrope", short_factor: [1], long_factor: [1] } },
      /found longrope/,
    ],
    ["olmo2", { clip_qkv: 8 }, /clip_qkv is not known/],
    ["gpt2", { scale_attn_by_inverse_layer_idx: true }, /scale_attn_by_inverse_layer_idx/],
    ["gpt-neo", { attention_types: [[["global"], 3]] }, /attention_types.*2 layers/],
    ["gpt-neo", { attention_layers: ["local", "global"] }, /attention_layers.*what attention_types says/],
    ["llama3-scaled", { architectures: ["MixtralForCausalLM"] }, /MixtralForCausalLM.*Mixtures of experts/],
    ["llama3-scaled", { architectures: ["Qwen2MoeForCausalLM"] }, /Mixtures of experts/],
    ["llama3-scaled", { architectures: ["Qwen2VLForConditionalGeneration"] }, /images and text/],
    ["gemma3-with-images", { text_config: 3 }, /text_config.*an object/],
    [
      "gemma3-with-images",
      { text_config: { attn_logit_softcapping: 5 } },
      /text_config: the field attn_logit_softcapping/,
    ],
    ["gemma3-with-images", { use_bidirectional_attention: true }, /use_bidirectional_attention is not known/],
    [
      "llama3-scaled",
      { architectures: ["FalconForCausalLM"] },
      /FalconForCausalLM; expected LlamaForCausalLM/,
    ],
    ["llama3-scaled", { architectures: ["BertModel"] }, /BertModel.*Only decoders/],
    ["gemma3", { architectures: ["Gemma3ForSequenceClassification"] }, /not supported/],
    ["llama3-scaled", { architectures: null }, /no field architectures/],
  ])("is refused by name (%s, %j)", (fixture, change, message) => {
    const config = readJson(`models/${fixture}/config.json`);
    expect(graphOf(config)).toContain("attention(");
    expect(() => graphOf({ ...config, ...change })).toThrow(message);
  });
});

describe("a config that says more than it has to", () => {
  it.each<[string, RawConfig]>([
    ["llama3-scaled", { architectures: ["LlamaForSequenceClassification"], id2label: { 0: "score" } }],
    ["gpt2", { architectures: ["GPT2Model"] }],
    ["gpt2", { architectures: ["GPT2ForTokenClassification"] }],
    ["gemma3", { architectures: ["Gemma3TextForSequenceClassification"] }],
    ["llama3-scaled", { is_causal: true, quantization_config: null, pruned_heads: {} }],
    // Of releases: distilgpt2, gpt2-xl, gpt-neox-20b, gemma-2-9b, Qwen2.5.
    ["gpt2", { _num_labels: 1, output_past: true }],
    ["pythia", { attention_probs_dropout_prob: 0, hidden_dropout_prob: 0 }],
    ["gemma2", { sliding_window_size: 4 }],
    ["qwen2-one-kv-head", { use_mrope: false, sliding_window: 32_768, max_window_layers: 21 }],
    // transformers 5 takes what stands among the parameters.
    ["llama3-scaled", { rope_theta: 77 }],
    ["olmo3", { rope_theta: 77 }],
  ])("means the same (%s, %j)", (fixture, more) => {
    const config = readJson(`models/${fixture}/config.json`);
    expect(graphOf({ ...config, ...more })).toBe(graphOf(config));
  });

  it("gelu_fast is another name of the approximation by tanh", () => {
    const config = readJson("models/pythia/config.json");
    const graph = graphOf({ ...config, hidden_act: "gelu_fast" });
    expect(graph).toBe(graphOf({ ...config, hidden_act: "gelu_new" }));
    expect(graph).not.toBe(graphOf(config));
  });
});
