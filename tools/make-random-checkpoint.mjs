// A checkpoint of a published shape with random weights, so that speed can be measured without a download: speed depends
// on the shape alone. Streamed, so a model of any size is written with little memory; the same seed gives the same bytes.
//
//   node tools/make-random-checkpoint.mjs --shape qwen2.5-0.5b --output /tmp/random [--layers 4] [--dtype bfloat16] [--seed 1]

import { closeSync, mkdirSync, openSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";

/** The config.json of each published model, without what does not bear on its shape. */
const SHAPES = {
  // https://huggingface.co/Qwen/Qwen2.5-0.5B/blob/main/config.json
  "qwen2.5-0.5b": {
    architectures: ["Qwen2ForCausalLM"],
    model_type: "qwen2",
    hidden_size: 896,
    intermediate_size: 4864,
    num_hidden_layers: 24,
    num_attention_heads: 14,
    num_key_value_heads: 2,
    vocab_size: 151936,
    max_position_embeddings: 32768,
    rope_theta: 1000000.0,
    rms_norm_eps: 1e-6,
    hidden_act: "silu",
    tie_word_embeddings: true,
    use_sliding_window: false,
  },
  // https://huggingface.co/HuggingFaceTB/SmolLM2-135M/blob/main/config.json
  "smollm2-135m": {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    hidden_size: 576,
    intermediate_size: 1536,
    num_hidden_layers: 30,
    num_attention_heads: 9,
    num_key_value_heads: 3,
    vocab_size: 49152,
    max_position_embeddings: 8192,
    rope_theta: 100000,
    rms_norm_eps: 1e-5,
    hidden_act: "silu",
    tie_word_embeddings: true,
    attention_bias: false,
    mlp_bias: false,
  },
};
const DTYPES = { float32: { name: "F32", bytes: 4 }, bfloat16: { name: "BF16", bytes: 2 } };
/** Standard deviation of weights and biases: transformers' `initializer_range` for these families. */
const SCALE = 0.02;
const CHUNK = 1 << 20;
const DRAWS = 1 << 16;

/** Name and shape of every tensor, in the order of the file. */
function tensorsOf(config) {
  const width = config.hidden_size;
  const keys = (width / config.num_attention_heads) * config.num_key_value_heads;
  const bias = config.model_type === "qwen2";
  const linear = (name, out, inputs, hasBias) => [
    [`${name}.weight`, [out, inputs]],
    ...(hasBias ? [[`${name}.bias`, [out]]] : []),
  ];
  const block = (i) => [
    [`model.layers.${i}.input_layernorm.weight`, [width]],
    ...linear(`model.layers.${i}.self_attn.q_proj`, width, width, bias),
    ...linear(`model.layers.${i}.self_attn.k_proj`, keys, width, bias),
    ...linear(`model.layers.${i}.self_attn.v_proj`, keys, width, bias),
    ...linear(`model.layers.${i}.self_attn.o_proj`, width, width, false),
    [`model.layers.${i}.post_attention_layernorm.weight`, [width]],
    ...linear(`model.layers.${i}.mlp.gate_proj`, config.intermediate_size, width, false),
    ...linear(`model.layers.${i}.mlp.up_proj`, config.intermediate_size, width, false),
    ...linear(`model.layers.${i}.mlp.down_proj`, width, config.intermediate_size, false),
  ];
  return [
    ["model.embed_tokens.weight", [config.vocab_size, width]],
    ...Array.from({ length: config.num_hidden_layers }, (_, i) => block(i)).flat(),
    ["model.norm.weight", [width]],
  ];
}

/** Uniform 32-bit integers: xorshift32 (Marsaglia 2003). */
function xorshift(seed) {
  let state = (seed * 2654435761) >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

/** 2^16 normal values: a weight is one of them, picked at random, which is ten times as fast as drawing each. */
function normalTable(random) {
  const uniform = () => (random() + 0.5) / 2 ** 32;
  return Float32Array.from(
    { length: DRAWS },
    () => SCALE * Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform()),
  );
}

/** Encodes float32 values as the file holds them; bfloat16 by cutting, which is good enough for noise. */
function encode(values, dtype) {
  if (dtype === "float32") return values;
  return Uint16Array.from(new Uint32Array(values.buffer), (bits) => bits >>> 16);
}

function writeAll(file, bytes) {
  for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done);
}

function writeWeights(path, tensors, dtype, seed) {
  const { name: code, bytes: width } = DTYPES[dtype];
  const sizeOf = (shape) => shape.reduce((a, b) => a * b, 1);
  let offset = 0;
  const header = { __metadata__: { format: "pt" } };
  for (const [name, shape] of tensors) {
    const end = offset + sizeOf(shape) * width;
    header[name] = { dtype: code, shape, data_offsets: [offset, end] };
    offset = end;
  }
  const json = JSON.stringify(header);
  const padded = Buffer.from(json.padEnd(Math.ceil(json.length / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));

  const file = openSync(path, "w");
  writeAll(file, length);
  writeAll(file, padded);
  const random = xorshift(seed);
  const noise = encode(normalTable(random), dtype);
  const one = encode(Float32Array.of(1), dtype)[0];
  const chunk = new noise.constructor(CHUNK);
  for (const [name, shape] of tensors) {
    const isNorm = name.endsWith("norm.weight");
    for (let left = sizeOf(shape); left > 0; left -= CHUNK) {
      const part = chunk.subarray(0, Math.min(left, CHUNK));
      if (isNorm) part.fill(one);
      else for (let i = 0; i < part.length; i++) part[i] = noise[random() >>> 16];
      writeAll(file, new Uint8Array(part.buffer, 0, part.byteLength));
    }
  }
  closeSync(file);
  return offset;
}

const { values: options } = parseArgs({
  options: {
    shape: { type: "string", default: "qwen2.5-0.5b" },
    output: { type: "string" },
    layers: { type: "string" },
    dtype: { type: "string", default: "float32" },
    seed: { type: "string", default: "1" },
  },
});
const shape = SHAPES[options.shape];
const layers = Number(options.layers ?? shape?.num_hidden_layers);
if (!options.output || !shape || !DTYPES[options.dtype] || !(Number.isInteger(layers) && layers > 0)) {
  console.error(
    `usage: --output DIR --shape ${Object.keys(SHAPES).join("|")} --dtype ${Object.keys(DTYPES).join("|")} [--layers N] [--seed N]`,
  );
  process.exit(64);
}
const config = { ...shape, num_hidden_layers: layers, torch_dtype: options.dtype };
mkdirSync(options.output, { recursive: true });
const tensors = tensorsOf(config);
const bytes = writeWeights(
  join(options.output, "model.safetensors"),
  tensors,
  options.dtype,
  Number(options.seed),
);
writeFileSync(join(options.output, "config.json"), `${JSON.stringify(config, null, 1)}\n`);
console.log(
  JSON.stringify({ output: options.output, shape: options.shape, layers, tensors: tensors.length, bytes }),
);
