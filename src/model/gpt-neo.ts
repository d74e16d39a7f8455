// GPT-Neo (Black et al. 2021) and the TinyStories models: GPT-2's decoder with q, k and v apart, scores that are not scaled,
// and layers that see a window. transformers: models/gpt_neo/modeling_gpt_neo.py

import { z } from "zod";
import type { ValueId } from "../graph/graph.js";
import { attend, type Block, type Heads, twoLayerMlp } from "./block.js";
import type { ConfigReader } from "./config.js";
import { buildDecoder, embedPositions, embedTokens, layerNorm, readActivation } from "./decoder.js";
import type { Family } from "./family.js";
import type { ModulePaths } from "./parse-hooks.js";

export const gptNeo: Family = {
  name: "gpt_neo",
  architectures: ["GPTNeoForCausalLM", "GPTNeoModel"],
  read(config) {
    const width = config.whole("hidden_size", 2048);
    const heads = config.whole("num_heads", 16);
    const layers = config.whole("num_layers", 24);
    const c = {
      layers,
      width,
      vocabulary: config.whole("vocab_size", 50_257),
      maxPositions: config.whole("max_position_embeddings", 2048),
      heads,
      kvHeads: heads,
      headWidth: width / heads,
      scale: 1,
      rope: null,
      mlpWidth: config.whole("intermediate_size", 4 * width),
      activation: readActivation(config, "activation_function", "gelu_new"),
    };
    const window = config.whole("window_size", 256);
    const isLocal = readLocalLayers(config, layers);
    const norm = layerNorm(config.positive("layer_norm_epsilon", 1e-5));
    return {
      ...c,
      positionsAreLearned: true,
      modules: MODULES,
      build: (g) =>
        buildDecoder(g, {
          layers,
          blocks: "h",
          embed: () => g.add(embedTokens(g, "wte.weight", c), embedPositions(g, "wpe.weight", c)),
          block(b, x) {
            const own = { ...c, window: isLocal[b.layer] ? window : null };
            const mid = b.addAttention(x, attention(b, norm(g, x, b.name("ln_1")), own));
            return b.addMlp(mid, twoLayerMlp(b, norm(g, mid, b.name("ln_2")), MLP, c));
          },
          norm,
          finalNorm: "ln_f",
        }),
    };
  },
};

const typesSchema = z.array(
  z.tuple([z.array(z.enum(["global", "local"])), z.number().int().min(1).max(10_000)]),
);

/** `attention_types`: patterns of global and local layers, each so many times. `attention_layers` is what follows from it. */
function readLocalLayers(config: ConfigReader, layers: number): boolean[] {
  const parsed = typesSchema.safeParse(config.raw("attention_types") ?? [[["global", "local"], 12]]);
  const types = parsed.data?.flatMap(([pattern, times]) =>
    Array.from({ length: times }, () => pattern).flat(),
  );
  if (types?.length !== layers)
    throw config.refuse("attention_types", `patterns of global and local for ${layers} layers`);
  const listed = config.raw("attention_layers");
  if (listed !== undefined && JSON.stringify(listed) !== JSON.stringify(types))
    throw config.refuse("attention_layers", "what attention_types says");
  return types.map((type) => type === "local");
}

function attention(b: Block, x: ValueId, c: Heads & { width: number }): ValueId {
  const project = (name: string) => b.linear(x, `attn.attention.${name}`, c.width);
  const z = attend(b, project("q_proj"), project("k_proj"), project("v_proj"), c);
  return b.linear(z, "attn.attention.out_proj", c.width, true);
}

const MLP = ["mlp.c_fc", "mlp.c_proj"] as const;

const MODULES: ModulePaths = {
  "transformer.wte": "embed",
  "transformer.wpe": "pos_embed",
  "transformer.h.N": "resid_post",
  "transformer.h.N.attn": "attn_out",
  "transformer.h.N.attn.attention": "attn_out",
  "transformer.h.N.attn.attention.q_proj": "q",
  "transformer.h.N.attn.attention.k_proj": "k",
  "transformer.h.N.attn.attention.v_proj": "v",
  "transformer.h.N.attn.attention.out_proj": "attn_out",
  "transformer.h.N.mlp": "mlp_out",
  "transformer.h.N.mlp.c_fc": "mlp_pre",
  "transformer.h.N.mlp.c_proj": "mlp_out",
  "transformer.ln_f": "ln_final",
};
