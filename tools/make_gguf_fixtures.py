#!/usr/bin/env python3
"""Writes test/fixtures/gguf: blocks of every quantised type with the values that the gguf package gives, small GGUF files of the
checkpoints in test/fixtures/models, and what must come out of them.

    pip install gguf numpy safetensors torch        (versions in test/fixtures/gguf/README.md)
    python tools/make_gguf_fixtures.py

The GGUF files are written as llama.cpp's converter writes them (conversion/llama.py: the rows of q and k permuted; conversion/gpt2.py:
linear layers transposed), so that the checkpoint's own fixture says what the engines must compute.
"""
import json
import pathlib

import gguf
import numpy as np
import safetensors.numpy
import safetensors.torch
import torch

root = pathlib.Path(__file__).resolve().parent.parent / "test" / "fixtures"
target = root / "gguf"
target.mkdir(parents=True, exist_ok=True)
TYPES = gguf.GGMLQuantizationType


def blocks():
    """Random blocks, and blocks whose scales are zero, negative zero, subnormal, the largest, and one."""
    rng = np.random.default_rng(7)
    scales = np.array([0x0000, 0x8000, 0x0001, 0x83FF, 0x0400, 0x7BFF, 0xFBFF, 0x3C00], dtype="<u2").view(np.uint8).reshape(-1, 2)
    places = {TYPES.Q8_0: [0], TYPES.Q4_0: [0], TYPES.Q4_1: [0, 2], TYPES.Q4_K: [0, 2], TYPES.Q6_K: [208]}
    found = {}
    for kind, at in places.items():
        elements, size = gguf.GGML_QUANT_SIZES[kind]
        count = 40 if elements == 32 else 20
        raw = rng.integers(0, 256, (count, size), dtype=np.uint8)
        for n, place in enumerate(at):  # Finite, ordinary scales; then the edge cases in every combination.
            raw[:, place : place + 2] = rng.normal(0, 0.05, (count, 1)).astype("<f2").view(np.uint8)
            for i, pattern in enumerate(scales):
                raw[i + 8 * n if count > 8 + 8 * n else i, place : place + 2] = pattern
        raw[-1], raw[-2] = 0, 255
        for place in at:
            raw[-2, place : place + 2] = np.array([0x3555], dtype="<u2").view(np.uint8)
        found[f"{kind.name}/blocks"] = raw.reshape(-1)
        values = gguf.dequantize(raw, kind).astype(np.float32).reshape(-1)
        assert np.isfinite(values).all()
        found[f"{kind.name}/values"] = values
    safetensors.numpy.save_file(found, target / "blocks.safetensors")


NAMES = {
    "model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "post_feedforward_layernorm": "post_ffw_norm",
    "transformer.wte.weight": "token_embd.weight", "transformer.wpe.weight": "position_embd.weight", "transformer.ln_f.weight": "output_norm.weight",
    "transformer.ln_f.bias": "output_norm.bias", "ln_1": "attn_norm", "ln_2": "ffn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output",
    "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down",
}


def gguf_name(name, arch):
    if name in NAMES:
        return NAMES[name]
    parts = name.split(".")
    if arch == "olmo2" and parts[3] == "post_attention_layernorm":
        return f"blk.{parts[2]}.post_attention_norm.{parts[-1]}"
    return f"blk.{parts[2]}.{NAMES['.'.join(parts[3:-1])]}.{parts[-1]}"


def permute(w, heads):
    """conversion/llama.py, LlamaModel.permute."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def checkpoint(name, dtype):
    folder = root / "models" / name
    config = json.loads((folder / "config.json").read_text())
    tensors = {}
    for file in sorted(folder.glob("model*.safetensors")):
        tensors |= safetensors.torch.load_file(file)
    arch = config["model_type"]
    w = gguf.GGUFWriter(target / f"{name}.gguf", arch)
    rope = config.get("rope_parameters") or {"rope_theta": config.get("rope_theta", 10000.0), **(config.get("rope_scaling") or {})}
    if arch == "gpt2":
        w.add_context_length(config["n_positions"])
        w.add_embedding_length(config["n_embd"])
        w.add_block_count(config["n_layer"])
        w.add_feed_forward_length(config.get("n_inner") or 4 * config["n_embd"])
        w.add_head_count(config["n_head"])
        w.add_layer_norm_eps(config["layer_norm_epsilon"])
    else:
        heads = config["num_attention_heads"]
        head_dim = config.get("head_dim") or config["hidden_size"] // heads
        w.add_vocab_size(config["vocab_size"])
        w.add_context_length(config["max_position_embeddings"])
        w.add_embedding_length(config["hidden_size"])
        w.add_block_count(config["num_hidden_layers"])
        w.add_feed_forward_length(config["intermediate_size"])
        w.add_head_count(heads)
        w.add_head_count_kv(config["num_key_value_heads"])
        w.add_rope_freq_base(rope["rope_theta"])
        w.add_layer_norm_rms_eps(config["rms_norm_eps"])
        if arch in ("llama", "granite"):
            w.add_rope_dimension_count(head_dim)
        if rope.get("rope_type") == "linear":  # conversion/base.py
            w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
            w.add_rope_scaling_factor(rope["factor"])
        if arch == "granite":  # conversion/granite.py
            w.add_attention_scale(config["attention_multiplier"])
            w.add_embedding_scale(config["embedding_multiplier"])
            w.add_residual_scale(config["residual_multiplier"])
            w.add_logit_scale(config["logits_scaling"])
        if head_dim != config["hidden_size"] // heads:
            w.add_key_length(head_dim)
            w.add_value_length(head_dim)
    if rope.get("rope_type") == "llama3":  # conversion/llama.py, generate_extra_tensors
        freqs = 1.0 / (rope["rope_theta"] ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim))
        low, high = rope["original_max_position_embeddings"] / rope["low_freq_factor"], rope["original_max_position_embeddings"] / rope["high_freq_factor"]
        factors = []
        for freq in freqs.tolist():
            wavelen = 2 * np.pi / freq
            smooth = (rope["original_max_position_embeddings"] / wavelen - rope["low_freq_factor"]) / (rope["high_freq_factor"] - rope["low_freq_factor"])
            factors.append(1 if wavelen < high else rope["factor"] if wavelen > low else 1 / ((1 - smooth) / rope["factor"] + smooth))
        w.add_tensor("rope_freqs.weight", np.array(factors, dtype=np.float32))
    for key, t in tensors.items():
        a = t.float().numpy()
        if arch in ("llama", "granite") and "q_proj" in key:
            a = permute(a, heads)
        if arch in ("llama", "granite") and "k_proj" in key:
            a = permute(a, config["num_key_value_heads"])
        if arch == "gpt2" and key.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight")):
            a = a.T
        kind = TYPES.F32 if a.ndim == 1 else dtype
        w.add_tensor(gguf_name(key, arch), gguf.quants.quantize(np.ascontiguousarray(a), kind), raw_dtype=kind)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    print(name, (target / f"{name}.gguf").stat().st_size)


if __name__ == "__main__":
    blocks()
    checkpoint("llama-head-dim", TYPES.F32)  # head width 20, biases on everything
    checkpoint("llama3-scaled-old", TYPES.F16)  # rope_freqs.weight, one key-value head
    checkpoint("smollm2-tied", TYPES.BF16)  # no output.weight
    checkpoint("qwen2-two-kv-heads", TYPES.BF16)
    checkpoint("qwen3", TYPES.BF16)  # linear rope scaling
    checkpoint("olmo2", TYPES.BF16)
    checkpoint("granite", TYPES.BF16)
    checkpoint("gpt2-inner", TYPES.F32)
    readme = "Made by tools/make_gguf_fixtures.py with gguf {}, numpy {}.\n\n- `blocks.safetensors`: blocks of each type, and the package's values\n- `*.gguf`: the checkpoints of `test/fixtures/models`, as llama.cpp's converter writes them\n"
    import importlib.metadata
    (target / "README.md").write_text(readme.format(importlib.metadata.version("gguf"), np.__version__))
