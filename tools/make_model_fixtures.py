#!/usr/bin/env python3
"""Writes test/fixtures/models: tiny random checkpoints in Hugging Face's layout, and the activations that PyTorch gives for them.

    pip install torch==2.15.0 transformers==5.23.0 safetensors numpy
    python tools/make_model_fixtures.py [NAME ...]

Every hook point is what a module of transformers read or gave (scripts/hf_hook_points.py). Norm weights and biases are perturbed and weights are large, so that a wrong
epsilon, base, bias or mask shows. The case `one` has all hook points, the others fewer, so that the files stay small. Where bfloat16 does not hold
the weights of the linear layers, expected-bfloat16.safetensors has the case `one` of the model with these weights rounded: what is left of the difference is an
engine's arithmetic in bfloat16.
"""
import json
import pathlib
import shutil
import sys

import safetensors.torch
import torch
import transformers
from transformers import (
    Gemma2Config, Gemma2ForCausalLM, GemmaConfig, GemmaForCausalLM, Gemma3Config, Gemma3ForCausalLM, Gemma3ForConditionalGeneration, Gemma3TextConfig, GPT2Config, GPT2LMHeadModel, GPTNeoConfig, GPTNeoForCausalLM, GPTNeoXConfig, GPTNeoXForCausalLM,
    GraniteConfig, GraniteForCausalLM, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Olmo2Config, Olmo2ForCausalLM, Olmo3Config, Olmo3ForCausalLM, Phi3Config, Phi3ForCausalLM, PhiConfig, PhiForCausalLM,
    Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM, SmolLM3Config, SmolLM3ForCausalLM, Starcoder2Config, Starcoder2ForCausalLM,
)

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "scripts"))
from hf_hook_points import hook_points  # noqa: E402

root = pathlib.Path(__file__).resolve().parent.parent / "test" / "fixtures" / "models"
LENGTHS = [3, 10, 1, 6]
LONG_ROWS = 16  # Of the long case, the last rows.


def randomise(model, seed):
    generator = torch.Generator().manual_seed(seed)
    zero_centred = type(model).__name__.startswith("Gemma")
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            noise = torch.randn(p.shape, generator=generator)
            if "norm" in name or "ln_" in name:
                p.copy_(noise * 0.2 + (0 if name.endswith("bias") or zero_centred else 1))
            elif name.endswith("bias"):
                p.copy_(noise * 0.3)
            elif "embed" in name or "wte" in name or "wpe" in name:
                p.copy_(noise * 0.02)  # Small beside epsilon's root, so that epsilon matters.
            elif any(part in name for part in ("q_proj", "k_proj", "c_attn", "qkv_proj", "query_key_value")):
                p.copy_(noise * 2.0 / p.shape[-1] ** 0.5)  # Attention far from uniform.
            else:
                p.copy_(noise * 0.7 / p.shape[-1] ** 0.5)


def activations(model, ids):
    """{hook name: float32 [tokens, width]} of one sample, in TransformerLens's names."""
    return {name: value().clone() for name, value in hook_points(model, ids).items()}


def round_linear_layers(model):
    """Rounds the weights of all linear layers to bfloat16, in place. Says whether any changed."""
    changed = False
    for module in model.modules():
        if isinstance(module, (torch.nn.Linear, transformers.pytorch_utils.Conv1D)):
            rounded = module.weight.data.bfloat16().float()
            changed |= not torch.equal(rounded, module.weight.data)
            module.weight.data = rounded
    return changed


def is_stored(case, hook, layers):
    """All of `one` and `token`; of a batch what blocks give; of the long case the last block's output."""
    if hook.endswith("hook_resid_pre") and hook != "blocks.0.hook_resid_pre":
        return False  # The output of the block before it, bit for bit: the suite tests that identity.
    if case == "batch":
        return hook.endswith(("hook_resid_post", "ln_final.hook_out"))  # The suite tests that batches change no hook point.
    if case == "long":
        return hook == f"blocks.{layers - 1}.hook_resid_post"
    return True


def expected_of(model, cases):
    """{"<case>/<sample>/<hook>": float32 [tokens, width]} of what is stored."""
    layers = model.config.get_text_config().num_hidden_layers
    expected = {}
    for case in cases:
        for s, ids in enumerate(case["samples"]):
            for hook, value in activations(model, ids).items():
                if is_stored(case["name"], hook, layers):
                    rows = value[-LONG_ROWS:] if case["name"] == "long" else value
                    expected[f"{case['name']}/{s}/{hook}"] = rows.contiguous()
    return expected


def write(name, model, seed, dtype=torch.float32, long=False, parts=False, edit=None):
    if len(sys.argv) > 1 and name not in sys.argv[1:]:
        return
    folder = root / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    randomise(model, seed)
    model.to(dtype).save_pretrained(folder, **({"max_shard_size": "40KB"} if parts else {}))
    (folder / "generation_config.json").unlink(missing_ok=True)
    # Read again in float32: casting the module to a 16-bit type would round its rope frequencies too.
    model = type(model).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    config = json.loads((folder / "config.json").read_text())
    if edit:
        config = edit(config)
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
        again = type(model).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        ids = torch.arange(20)[None]
        with torch.no_grad():
            assert torch.equal(again(ids).logits, model(ids).logits), f"{name}: the edited config means another model"
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    generator = torch.Generator().manual_seed(seed + 1)
    draw = lambda n: torch.randint(0, model.config.get_text_config().vocab_size, (n,), generator=generator).tolist()
    cases = [{"name": "one", "samples": [draw(7)]}, {"name": "batch", "samples": [draw(n) for n in LENGTHS]}, {"name": "token", "samples": [draw(1)]}]
    if long:
        cases.append({"name": "long", "samples": [draw(300)]})
    safetensors.torch.save_file(expected_of(model, cases), folder / "expected.safetensors")
    if round_linear_layers(model):
        safetensors.torch.save_file(expected_of(model, cases[:1]), folder / "expected-bfloat16.safetensors")
    made = {"made_by": "tools/make_model_fixtures.py", "seed": seed, "versions": {"torch": torch.__version__, "transformers": transformers.__version__}}
    (folder / "cases.json").write_text(json.dumps({**made, "cases": cases}) + "\n")
    print(name, sum(f.stat().st_size for f in folder.iterdir()))


def old_spelling(config):
    """transformers 4's names for rotary positions."""
    parameters = config.pop("rope_parameters")
    local = parameters.pop("sliding_attention", None)
    parameters = parameters.pop("full_attention", parameters)
    if local:
        config["rope_local_base_freq"] = local["rope_theta"]
        config.pop("layer_types")
        config["sliding_window_pattern"] = config.pop("_sliding_window_pattern")
    neox = config["model_type"] == "gpt_neox"
    config["rotary_emb_base" if neox else "rope_theta"] = parameters.pop("rope_theta")
    share = parameters.pop("partial_rotary_factor", None)
    if share is not None:
        config["rotary_pct" if neox else "partial_rotary_factor"] = share
    if parameters.get("rope_type", "default") != "default":
        config["rope_scaling"] = parameters
    return config


eager = {"attn_implementation": "eager"}
common = {"vocab_size": 199, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 6, **eager}
llama3 = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
write("llama2-all-heads", LlamaForCausalLM(LlamaConfig(**common, num_key_value_heads=6, rms_norm_eps=1e-5)), 1, dtype=torch.bfloat16, edit=old_spelling)
write("llama3-scaled", LlamaForCausalLM(LlamaConfig(**common, num_key_value_heads=2, rms_norm_eps=1e-5, rope_parameters=llama3)), 2, dtype=torch.bfloat16, long=True)
write("llama3-scaled-old", LlamaForCausalLM(LlamaConfig(**common, num_key_value_heads=1, rms_norm_eps=1e-5, rope_parameters=llama3)), 3, dtype=torch.float16, edit=old_spelling)
write("smollm2-tied", LlamaForCausalLM(LlamaConfig(**common, num_key_value_heads=2, rms_norm_eps=1e-5, tie_word_embeddings=True, rope_parameters={"rope_theta": 100000.0, "rope_type": "default"})), 4, dtype=torch.bfloat16)
write("llama-head-dim", LlamaForCausalLM(LlamaConfig(**common, num_key_value_heads=2, head_dim=20, attention_bias=True, mlp_bias=True, rms_norm_eps=1e-4)), 5, parts=True)
write("qwen2-one-kv-head", Qwen2ForCausalLM(Qwen2Config(**common, num_key_value_heads=1, rms_norm_eps=1e-6, tie_word_embeddings=True)), 6, dtype=torch.bfloat16, edit=old_spelling)
write("qwen2-two-kv-heads", Qwen2ForCausalLM(Qwen2Config(**common, num_key_value_heads=2, rms_norm_eps=1e-4, rope_parameters={"rope_theta": 1000000.0, "rope_type": "default"})), 7, dtype=torch.bfloat16, long=True)
write("gpt2", GPT2LMHeadModel(GPT2Config(vocab_size=199, n_embd=48, n_layer=2, n_head=4, n_positions=320, **eager)), 8, dtype=torch.bfloat16, long=True)
write("gpt2-inner", GPT2LMHeadModel(GPT2Config(vocab_size=199, n_embd=48, n_layer=2, n_head=2, n_positions=64, n_inner=60, activation_function="gelu", layer_norm_epsilon=1e-3, **eager)), 9)

small = {"vocab_size": 67, "hidden_size": 32, "intermediate_size": 20, "num_attention_heads": 4, **eager}
two = {**small, "num_hidden_layers": 2}
bf16 = torch.bfloat16
yarn = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64}
write("mistral", MistralForCausalLM(MistralConfig(**two, num_key_value_heads=2, sliding_window=4, rms_norm_eps=1e-5)), 10, dtype=bf16, long=True, edit=old_spelling)
write("mistral-yarn", MistralForCausalLM(MistralConfig(**two, num_key_value_heads=1, head_dim=12, sliding_window=None, rms_norm_eps=1e-5, rope_parameters=yarn)), 11, dtype=bf16, long=True, edit=old_spelling)
write("qwen3", Qwen3ForCausalLM(Qwen3Config(**two, num_key_value_heads=2, head_dim=16, rms_norm_eps=1e-5, tie_word_embeddings=True, rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0})), 12, dtype=bf16, long=True)
write("qwen3-window", Qwen3ForCausalLM(Qwen3Config(**two, num_key_value_heads=4, head_dim=8, rms_norm_eps=1e-5, attention_bias=True, use_sliding_window=True, sliding_window=3, max_window_layers=1)), 13, dtype=bf16, edit=old_spelling)
write("gemma2", Gemma2ForCausalLM(Gemma2Config(**small, num_hidden_layers=3, num_key_value_heads=2, head_dim=16, sliding_window=4, query_pre_attn_scalar=24, attn_logit_softcapping=3.0)), 14, dtype=bf16, long=True, edit=old_spelling)
write("gemma2-odd-heads", Gemma2ForCausalLM(Gemma2Config(**two, num_key_value_heads=1, head_dim=12, sliding_window=5, query_pre_attn_scalar=12, attn_logit_softcapping=2.0)), 15, dtype=bf16)
write("gemma3", Gemma3ForCausalLM(Gemma3TextConfig(**small, num_hidden_layers=3, num_key_value_heads=1, head_dim=16, sliding_window=4, query_pre_attn_scalar=20, layer_types=["sliding_attention", "full_attention", "sliding_attention"], rope_parameters={"sliding_attention": {"rope_type": "default", "rope_theta": 100.0}, "full_attention": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 8.0}})), 16, dtype=bf16, long=True)
images = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 14, "patch_size": 14}
inside = Gemma3TextConfig(**two, num_key_value_heads=2, head_dim=8, sliding_window=3, query_pre_attn_scalar=8, sliding_window_pattern=2, rope_parameters={"sliding_attention": {"rope_type": "default", "rope_theta": 100.0}, "full_attention": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}})
write("gemma3-with-images", Gemma3ForConditionalGeneration(Gemma3Config(text_config=inside, vision_config=images, mm_tokens_per_image=1, **eager)), 23, dtype=bf16, edit=lambda config: {**config, "text_config": old_spelling(config["text_config"])})
write("pythia", GPTNeoXForCausalLM(GPTNeoXConfig(**two, rope_parameters={"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.5})), 18, dtype=torch.float16, long=True, edit=old_spelling)
write("gpt-neox-sequential", GPTNeoXForCausalLM(GPTNeoXConfig(**two, use_parallel_residual=False, layer_norm_eps=1e-4, hidden_act="gelu_new", rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0})), 19, dtype=bf16)
write("phi3", Phi3ForCausalLM(Phi3Config(**two, num_key_value_heads=2, sliding_window=6, pad_token_id=0, rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5})), 20, dtype=bf16, long=True)
write("olmo2", Olmo2ForCausalLM(Olmo2Config(**two, num_key_value_heads=2, rms_norm_eps=1e-5)), 21, dtype=bf16, long=True)
write("granite", GraniteForCausalLM(GraniteConfig(**two, num_key_value_heads=2, tie_word_embeddings=True, embedding_multiplier=12.0, residual_multiplier=0.22, attention_multiplier=0.2)), 22, dtype=bf16)
write("gpt-neo", GPTNeoForCausalLM(GPTNeoConfig(vocab_size=67, hidden_size=32, num_layers=2, num_heads=4, intermediate_size=20, window_size=4, max_position_embeddings=24, attention_types=[[["global", "local"], 1]], **eager)), 26, dtype=bf16)
write("gemma", GemmaForCausalLM(GemmaConfig(**two, num_key_value_heads=1, head_dim=16)), 24, dtype=bf16, edit=lambda config: old_spelling({**config, "hidden_act": "gelu"}))
olmo3_ropes = {"full_attention": {"rope_type": "yarn", "rope_theta": 500000.0, "factor": 8.0, "attention_factor": 1.3, "original_max_position_embeddings": 64}, "sliding_attention": {"rope_type": "default", "rope_theta": 500000.0}}
write("olmo3", Olmo3ForCausalLM(Olmo3Config(**two, num_key_value_heads=2, sliding_window=4, layer_types=["sliding_attention", "full_attention"], rope_parameters=olmo3_ropes)), 25, dtype=bf16)
tiny = {**two, "vocab_size": 41, "hidden_size": 16, "intermediate_size": 12, "num_attention_heads": 2, "tie_word_embeddings": True, "bos_token_id": 0, "eos_token_id": 0}
write("phi", PhiForCausalLM(PhiConfig(**tiny, num_key_value_heads=2, rope_parameters={"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.5})), 27, dtype=bf16, edit=old_spelling)
write("smollm3", SmolLM3ForCausalLM(SmolLM3Config(**tiny, num_key_value_heads=1, pad_token_id=0, no_rope_layers=[0, 1], use_sliding_window=True, sliding_window=4)), 28, dtype=bf16, edit=old_spelling)
write("starcoder2", Starcoder2ForCausalLM(Starcoder2Config(**tiny, num_key_value_heads=1, norm_epsilon=1e-4, sliding_window=4)), 29, dtype=bf16, edit=old_spelling)

if len(sys.argv) == 1:
    # What each family's config means where it leaves fields out.
    defaults = {}
    for model in (LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM, GemmaForCausalLM, Gemma2ForCausalLM, Gemma3ForCausalLM, Phi3ForCausalLM, Olmo2ForCausalLM, Olmo3ForCausalLM, GraniteForCausalLM, GPTNeoXForCausalLM, GPTNeoForCausalLM, GPT2LMHeadModel, PhiForCausalLM, SmolLM3ForCausalLM, Starcoder2ForCausalLM):
        config_class = Gemma3TextConfig if model is Gemma3ForCausalLM else model.config_class
        defaults[model.__name__] = {k: v for k, v in config_class().to_dict().items() if k not in transformers.PreTrainedConfig().to_dict()}
    (root.parent / "model-defaults.json").write_text(json.dumps(defaults) + "\n")

    # Rotary frequencies of heads of 64, as transformers computes them from either spelling.
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
    from transformers.models.phi3.modeling_phi3 import Phi3RotaryEmbedding

    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4096}
    llama3 = {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    spellings = [
        {"rope_theta": 10000.0},
        {"rope_theta": 500000.0, "rope_scaling": llama3},
        {"rope_parameters": {**llama3, "rope_theta": 500000.0}},
        {"rope_theta": 1000000.0, "rope_scaling": {"type": "linear", "factor": 8.0}},
        {"rope_theta": 1000000.0, "rope_scaling": yarn},
        {"rope_parameters": {**yarn, "rope_theta": 150000.0, "truncate": False}},
        {"rope_parameters": {**yarn, "rope_theta": 10000.0, "beta_fast": 16.0, "beta_slow": 2.0}},
        {"rope_parameters": {**yarn, "rope_theta": 10000.0, "attention_factor": 1.25}},
        {"rope_parameters": {**yarn, "rope_theta": 10000.0, "factor": 40.0, "mscale": 1.0, "mscale_all_dim": 0.8}},
        {"rope_parameters": {"rope_type": "yarn", "factor": 0.5, "rope_theta": 10000.0}, "max_position_embeddings": 2048},
        {"rope_theta": 10000.0, "partial_rotary_factor": 0.75},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}},
    ]
    ropes = []
    for fields in spellings:
        phi = "partial" in json.dumps(fields)
        config = (Phi3Config if phi else LlamaConfig)(hidden_size=256, num_attention_heads=4, **json.loads(json.dumps(fields)))
        rope = (Phi3RotaryEmbedding if phi else LlamaRotaryEmbedding)(config)
        ropes.append({"config": fields, "frequencies": rope.inv_freq.tolist(), "amplitude": rope.attention_scaling})
    (root.parent / "rope-frequencies.json").write_text("[\n" + ",\n".join(json.dumps(r) for r in ropes) + "\n]\n")
