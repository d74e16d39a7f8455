#!/usr/bin/env python3
"""Trains the model that ships in assets/model: a small Qwen2 on ARC prompts as Sluice renders them, and its tokenizer.

    pip install torch==2.15.0 transformers tokenizers safetensors numpy
    npm ci && python tools/train_bundled_model.py --minutes 30 [--threads 1]

Held out: the tasks whose id's SHA-256 begins with a byte below 26 (about a tenth), never trained on. The model card with the
loss curve, and assets/model/heldout.json (ids, loss, entropy, golden token ids), are written at the end.
"""
import argparse
import hashlib
import json
import math
import pathlib
import subprocess
import time

import numpy as np
import tokenizers
import torch
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import Qwen2Config, Qwen2ForCausalLM

root = pathlib.Path(__file__).resolve().parent.parent
target = root / "assets" / "model"
END = "<|endoftext|>"


def held_out(task_id):
    return hashlib.sha256(task_id.encode()).digest()[0] < 26


def train_tokenizer(texts):
    """Byte-level BPE; every digit stands alone, with the space before it, so that a grid cell is one token."""
    tokenizer = Tokenizer(models.BPE())
    split = Regex(r" ?\d| ?[^\s\d]+|\n|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(split, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=[END, "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def evaluate(model, documents, limit=2048):
    """Mean loss in nats over all predicted tokens of the documents, each alone; and over the grid cells among them."""
    total, count, cell_total, cell_count = 0.0, 0, 0.0, 0
    with torch.no_grad():
        for ids, cells in documents:
            ids = ids[:limit]
            logits = model(torch.tensor(ids)[None]).logits[0, :-1].float()
            losses = torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="none")
            mask = torch.tensor(cells[1 : len(ids)])
            total += losses.sum().item()
            count += len(losses)
            cell_total += losses[mask].sum().item()
            cell_count += int(mask.sum())
    return total / count, cell_total / cell_count


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--variants", type=int, default=16)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(42)
    rng = np.random.default_rng(42)

    rendered = subprocess.run(
        ["node", str(root / "tools" / "render-arc.mjs"), str(args.variants)], capture_output=True, check=True, text=True
    ).stdout
    records = [json.loads(line) for line in rendered.splitlines()]
    training = [r for r in records if not held_out(r["id"])]
    heldout = [r for r in records if held_out(r["id"]) and r["variant"] == 0]
    tokenizer = train_tokenizer([r["solved"] for r in training[:4000]])
    end = tokenizer.token_to_id(END)
    cell_ids = {tokenizer.token_to_id("\u0120" + d) for d in "0123456789"}

    order = rng.permutation(len(training))
    stream = []
    for i in order:
        stream.extend(tokenizer.encode(training[i]["solved"]).ids)
        stream.append(end)
    stream = np.array(stream, dtype=np.int64)
    unigram = np.bincount(stream, minlength=tokenizer.get_vocab_size()) + 1.0
    unigram /= unigram.sum()
    documents = []
    for r in heldout:
        ids = tokenizer.encode(r["prompt"]).ids
        documents.append((ids, [i in cell_ids for i in ids]))
    predicted = np.concatenate([np.array(ids[1:2048]) for ids, _ in documents])
    entropy = float(-np.log(unigram[predicted]).mean())
    lengths = [len(tokenizer.encode(r["prompt"]).ids) for r in records if r["variant"] == 0]
    quantiles = {q: int(np.quantile(lengths, q / 100)) for q in (10, 50, 90, 100)}
    print(f"tokens {len(stream)}, vocabulary {tokenizer.get_vocab_size()}, unigram entropy {entropy:.3f}, lengths {quantiles}", flush=True)

    config = Qwen2Config(
        vocab_size=-(-tokenizer.get_vocab_size() // 32) * 32,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        rope_theta=10000.0,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=end,
        use_sliding_window=False,
    )
    model = Qwen2ForCausalLM(config)
    parameters = sum(p.numel() for p in model.parameters())
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.95), weight_decay=0.05)
    started, step, curve, seen, recent = time.time(), 0, [], 0, []
    budget = args.minutes * 60
    model.train()
    while True:
        done = (time.time() - started) / budget
        if done >= 1:
            break
        length, batch = (1024, 4) if done < 0.75 else (2048, 2)
        rate = 2e-3 * min(1, (step + 1) / 100) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1, done))))
        for group in optimiser.param_groups:
            group["lr"] = rate
        starts = rng.integers(0, len(stream) - length - 1, batch)
        ids = torch.tensor(np.stack([stream[s : s + length + 1] for s in starts]))
        logits = model(ids[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]).float(), ids[:, 1:].reshape(-1))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        step += 1
        seen += ids.numel()
        recent.append(loss.item())
        if step % 100 == 0:
            model.eval()
            held, _ = evaluate(model, documents[:20], 1024)
            model.train()
            curve.append((step, seen, float(np.mean(recent)), held))
            recent = []
            print(f"step {step} tokens {seen} train {curve[-1][2]:.4f} held {held:.4f} {time.time() - started:.0f} s", flush=True)

    # What ships is bfloat16: everything reported below is of the rounded weights.
    model = model.to(torch.bfloat16)
    target.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(target)
    tokenizer.save(str(target / "tokenizer.json"))
    (target / "generation_config.json").unlink(missing_ok=True)
    tokenizer_config = {"tokenizer_class": "Qwen2Tokenizer", "eos_token": END, "bos_token": None, "model_max_length": 4096, "add_bos_token": False}
    (target / "tokenizer_config.json").write_text(json.dumps(tokenizer_config, indent=2) + "\n")
    model = model.float().eval()
    held, cells = evaluate(model, documents)
    tested = [d for d in documents if len(d[0]) <= 1024][:6]
    held_tested, _ = evaluate(model, tested)
    facts = {
        "made_by": "tools/train_bundled_model.py",
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__, "tokenizers": tokenizers.__version__},
        "unigram_entropy": entropy,
        "loss": held,
        "loss_on_grid_cells": cells,
        "held_out": [r["id"] for r in heldout],
        "tested": {"ids": [r["id"] for r, d in zip(heldout, documents) if any(d is t for t in tested)], "loss": held_tested},
        "golden_sha256": hashlib.sha256(
            b"".join(np.array(tokenizer.encode(r["prompt"]).ids, dtype="<i4").tobytes() for r in records if r["variant"] == 0)
        ).hexdigest(),
    }
    (target / "heldout.json").write_text(json.dumps(facts, indent=1) + "\n")
    rows = "\n".join(f"| {s} | {t:,} | {a:.3f} | {h:.3f} |" for s, t, a, h in curve[:: max(1, len(curve) // 24)])
    card = f"""---
license: apache-2.0
pipeline_tag: text-generation
---
# The model that ships with Sluice

A Qwen2 of {parameters / 1e6:.2f} M parameters ({config.num_hidden_layers} layers, width {config.hidden_size}, {config.num_attention_heads} heads, {config.num_key_value_heads} key-value heads), trained
from nothing on ARC-AGI-1 tasks as Sluice renders them (`src/data/arc.ts`), so that a first extraction has activations that mean something.
It does not solve ARC: it knows the form of the prompt, copies and continues patterns.

- Data: the 800 public tasks (Apache-2.0, F. Chollet), {args.variants} seeded variants each; {len(heldout)} tasks held out by the hash of their id.
- Tokenizer: byte-level BPE, {tokenizer.get_vocab_size()} tokens; a grid cell is one token. Prompt lengths in tokens: {json.dumps(quantiles)} (quantile: length).
- Training: {seen:,} tokens in {step:,} steps of AdamW (peak rate 2e-3, cosine), {args.minutes:.0f} minutes on {args.threads} CPU thread(s); torch {torch.__version__}.
- Made by `tools/train_bundled_model.py`; licence Apache-2.0.

| on held-out prompts, cut at 2,048 tokens | nats a token |
| --- | --- |
| entropy under the training unigrams | {entropy:.3f} |
| **loss of the model, as shipped in bfloat16** | **{held:.3f}** |
| loss on grid cells alone | {cells:.3f} |

Loss while training (held-out column: 20 prompts cut at 1,024 tokens):

| step | tokens | training | held out |
| --- | --- | --- | --- |
{rows}
"""
    (target / "README.md").write_text(card)
    print(json.dumps({k: facts[k] for k in ("unigram_entropy", "loss", "loss_on_grid_cells")}), seen, step)


main()
