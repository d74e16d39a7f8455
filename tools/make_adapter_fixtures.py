#!/usr/bin/env python3
"""Writes test/fixtures/adapters: LoRA adapters on checkpoints of test/fixtures/models, saved by peft, and the block outputs after
peft's merge_and_unload in float32.

    pip install torch transformers peft safetensors        (versions in each cases.json)
    python tools/make_adapter_fixtures.py
"""
import json
import pathlib
import shutil

import peft
import safetensors.torch
import torch
import transformers
from transformers import AutoModelForCausalLM

root = pathlib.Path(__file__).resolve().parent.parent / "test" / "fixtures"


def make(name, base, seed, **config):
    folder = root / "adapters" / name
    shutil.rmtree(folder, ignore_errors=True)
    model = AutoModelForCausalLM.from_pretrained(root / "models" / base, dtype=torch.float32, attn_implementation="eager")
    model = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", **config)).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, p in sorted(model.named_parameters()):
            if "lora_" in key:
                p.copy_(torch.randn(p.shape, generator=generator) * 0.2)
    model.save_pretrained(folder)
    saved = json.loads((folder / "adapter_config.json").read_text())
    saved["base_model_name_or_path"] = base
    (folder / "adapter_config.json").write_text(json.dumps(saved, indent=1) + "\n")
    (folder / "README.md").unlink(missing_ok=True)
    merged = model.merge_and_unload()
    blocks = merged.transformer.h if hasattr(merged, "transformer") else merged.model.layers
    found = {}
    for i, block in enumerate(blocks):
        block.register_forward_hook(lambda m, a, out, i=i: found.update({i: out[0] if isinstance(out, tuple) else out}))
    samples = [torch.randint(0, merged.config.vocab_size, (17,), generator=generator).tolist()]
    with torch.no_grad():
        merged(torch.tensor(samples))
    expected = {f"blocks.{i}.hook_resid_post": v.reshape(-1, v.shape[-1]).contiguous() for i, v in found.items()}
    safetensors.torch.save_file(expected, folder / "expected.safetensors")
    versions = {m.__name__: m.__version__ for m in (torch, transformers, peft)}
    (folder / "cases.json").write_text(json.dumps({"made_by": "tools/make_adapter_fixtures.py", "versions": versions, "base": base, "samples": samples}) + "\n")
    print(name, sum(f.stat().st_size for f in folder.iterdir()), sorted(f.name for f in folder.iterdir()))


make("plain", "smollm2-tied", 1, r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"])
make("rslora-patterns", "qwen2-one-kv-head", 2, r=4, lora_alpha=6, use_rslora=True, target_modules="all-linear", rank_pattern={"k_proj": 2, "layers.1.mlp.up_proj": 3}, alpha_pattern={"k_proj": 5})
make("conv1d", "gpt2-inner", 3, r=3, lora_alpha=5, fan_in_fan_out=True, target_modules=["c_attn", "c_proj", "c_fc"])
