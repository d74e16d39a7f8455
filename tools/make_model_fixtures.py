#!/usr/bin/env python3
"""Writes test/fixtures/models: tiny random checkpoints in Hugging Face's layout, and the activations that PyTorch gives for them.

    pip install torch==2.15.0 transformers==5.23.0 safetensors numpy
    python tools/make_model_fixtures.py

Block inputs and outputs are taken by forward hooks (hidden_states[-1] is after the final norm), attn_out and mlp_out are what is
added to the stream. Norm weights and biases are perturbed and weights are large, so that a wrong epsilon, base, bias or mask shows.
"""
import json
import pathlib
import shutil

import safetensors.torch
import torch
import transformers
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

root = pathlib.Path(__file__).resolve().parent.parent / "test" / "fixtures" / "models"
VOCAB = 199
LENGTHS = [5, 17, 1, 11]


def randomise(model, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            noise = torch.randn(p.shape, generator=generator)
            if "norm" in name or "ln_" in name:
                p.copy_(noise * 0.2 + (0 if name.endswith("bias") else 1))
            elif name.endswith("bias"):
                p.copy_(noise * 0.3)
            elif "embed" in name or "wte" in name or "wpe" in name:
                p.copy_(noise * 0.02)  # Small beside epsilon's root, so that epsilon matters.
            elif "q_proj" in name or "k_proj" in name or "c_attn" in name:
                p.copy_(noise * 2.0 / p.shape[-1] ** 0.5)  # Attention far from uniform.
            else:
                p.copy_(noise * 0.7 / p.shape[-1] ** 0.5)


def activations(model, ids):
    """{hook name: float32 [tokens, width]} of one sample."""
    base = model.transformer if hasattr(model, "transformer") else model.model
    blocks = base.h if hasattr(base, "h") else base.layers
    found, handles = {}, []
    first = lambda value: value[0] if isinstance(value, tuple) else value
    for i, block in enumerate(blocks):
        attention = block.attn if hasattr(block, "attn") else block.self_attn

        def pre(module, args, kwargs, i=i):
            found[f"blocks.{i}.hook_resid_pre"] = first(args) if args else kwargs["hidden_states"]

        def post(module, args, out, i=i):
            found[f"blocks.{i}.hook_resid_post"] = first(out)

        def attn(module, args, out, i=i):
            found[f"blocks.{i}.hook_attn_out"] = first(out)

        def mlp(module, args, out, i=i):
            found[f"blocks.{i}.hook_mlp_out"] = first(out)

        handles += [block.register_forward_pre_hook(pre, with_kwargs=True), block.register_forward_hook(post)]
        handles += [attention.register_forward_hook(attn), block.mlp.register_forward_hook(mlp)]
        norm = block.ln_2 if hasattr(block, "ln_2") else block.post_attention_layernorm

        def mid(module, args, i=i):
            found[f"blocks.{i}.hook_resid_mid"] = args[0]

        handles.append(norm.register_forward_pre_hook(mid))
    with torch.no_grad():
        model(torch.tensor([ids]))
    for handle in handles:
        handle.remove()
    return {name: value[0].float().clone() for name, value in found.items()}


def write(name, model, seed, dtype=torch.float32, long=False, parts=False, edit=None):
    folder = root / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    randomise(model, seed)
    model.to(dtype).save_pretrained(folder, **({"max_shard_size": "40KB"} if parts else {}))
    (folder / "generation_config.json").unlink(missing_ok=True)
    config = json.loads((folder / "config.json").read_text())
    if edit:
        config = edit(config)
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    # Read again in float32: casting the module to a 16-bit type would round its rope frequencies too.
    model = type(model).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    generator = torch.Generator().manual_seed(seed + 1)
    draw = lambda n: torch.randint(0, VOCAB, (n,), generator=generator).tolist()
    cases = [{"name": "one", "samples": [draw(17)]}, {"name": "batch", "samples": [draw(n) for n in LENGTHS]}, {"name": "token", "samples": [draw(1)]}]
    if long:
        cases.append({"name": "long", "samples": [draw(300)]})
    expected = {}
    for case in cases:
        for s, ids in enumerate(case["samples"]):
            for hook, value in activations(model, ids).items():
                if case["name"] != "long" or hook.endswith("resid_post"):
                    expected[f"{case['name']}/{s}/{hook}"] = value.contiguous()
    safetensors.torch.save_file(expected, folder / "expected.safetensors")
    made = {"made_by": "tools/make_model_fixtures.py", "seed": seed, "versions": {"torch": torch.__version__, "transformers": transformers.__version__}}
    (folder / "cases.json").write_text(json.dumps({**made, "cases": cases}) + "\n")
    print(name, sum(f.stat().st_size for f in folder.iterdir()))


def old_spelling(config):
    parameters = config.pop("rope_parameters")
    config["rope_theta"] = parameters.pop("rope_theta")
    if parameters.get("rope_type", "default") != "default":
        config["rope_scaling"] = parameters
    return config


common = {"vocab_size": VOCAB, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 6, "attn_implementation": "eager"}
llama3 = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
write("llama2-all-heads", LlamaForCausalLM(LlamaConfig(**common, num_key_value_heads=6, rms_norm_eps=1e-5)), 1, edit=old_spelling)
write("llama3-scaled", LlamaForCausalLM(LlamaConfig(**common, num_key_value_heads=2, rms_norm_eps=1e-5, rope_parameters=llama3)), 2, long=True)
write("llama3-scaled-old", LlamaForCausalLM(LlamaConfig(**common, num_key_value_heads=1, rms_norm_eps=1e-5, rope_parameters=llama3)), 3, dtype=torch.float16, edit=old_spelling)
write("smollm2-tied", LlamaForCausalLM(LlamaConfig(**common, num_key_value_heads=2, rms_norm_eps=1e-5, tie_word_embeddings=True, rope_parameters={"rope_theta": 100000.0, "rope_type": "default"})), 4, dtype=torch.bfloat16)
write("llama-head-dim", LlamaForCausalLM(LlamaConfig(**common, num_key_value_heads=2, head_dim=20, attention_bias=True, mlp_bias=True, rms_norm_eps=1e-4)), 5, parts=True)
write("qwen2-one-kv-head", Qwen2ForCausalLM(Qwen2Config(**common, num_key_value_heads=1, rms_norm_eps=1e-6, tie_word_embeddings=True)), 6, edit=old_spelling)
write("qwen2-two-kv-heads", Qwen2ForCausalLM(Qwen2Config(**common, num_key_value_heads=2, rms_norm_eps=1e-4, rope_parameters={"rope_theta": 1000000.0, "rope_type": "default"})), 7, dtype=torch.bfloat16, long=True)
write("gpt2", GPT2LMHeadModel(GPT2Config(vocab_size=VOCAB, n_embd=48, n_layer=2, n_head=4, n_positions=320, attn_implementation="eager")), 8, long=True)
write("gpt2-inner", GPT2LMHeadModel(GPT2Config(vocab_size=VOCAB, n_embd=48, n_layer=2, n_head=2, n_positions=64, n_inner=60, activation_function="gelu", layer_norm_epsilon=1e-3, attn_implementation="eager")), 9)
