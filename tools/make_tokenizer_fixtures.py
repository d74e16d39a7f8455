#!/usr/bin/env python3
"""Writes test/fixtures/tokenizers: small tokenizers of the usual kinds, and the ids that Python's `tokenizers` gives for 2,100 strings.

    pip install tokenizers==0.23.1        (or what the fixtures' `versions` say)
    python tools/make_tokenizer_fixtures.py

Strings: words, digits, white space, control characters, combining marks, CJK, right-to-left, emoji with joiners, look-alikes of special
tokens, and very long ones. The kinds: GPT-2 (byte level), Qwen2 and Llama 3 (regex, then byte level, NFC), Llama 2 (metaspace, byte fallback).
"""
import gzip
import hashlib
import json
import pathlib
import random

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

root = pathlib.Path(__file__).resolve().parent.parent
target = root / "test" / "fixtures" / "tokenizers"
target.mkdir(parents=True, exist_ok=True)
corpus = [(root / "LICENSE").read_text(), "naïve café 東京 日本語 привет мир 12 345 6,789.01 \U0001f600\U0001f468‍\U0001f469‍\U0001f467 العربية"] * 2
QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def strings():
    rng = random.Random(42)
    pieces = (
        ["the", " The", "Licence", "Work", "shall", " a", "naïve", "café", "café", "Å", "Å", "東京", "日本語テキスト", "漢字", "привет", "мир", "العربية", "שלום"]
        + ["\U0001f600", "\U0001f468‍\U0001f469‍\U0001f467", "\U0001f1e9\U0001f1ea", "☃️", "‍", "​", "\ufeff", "a̐éö̲"]
        + [" ", "  ", "   ", "\t", "\n", "\r\n", "\n\n", "\x00", "\x01", "\x07", "\x1b[0m", "\x7f", "\x85", " ", "　"]
        + ["0", "12", "345", "6,789.01", "1e-5", "½", "²", "Ⅷ", "٣"]
        + ["<|endoftext|>", "<|im_start|>", "<|endoftext|", "|endoftext|>", "< |endoftext|>", "<s>", "</s>", "<unk>", "<0x41>", "▁", "Ġ"]
        + ["'s", "'LL", "don't", "I'VE", "_x_", "--", "...", "://", "{}", "[[0, 1]]", "\\n", "\"", "#", "%%", "@"]
    )
    found = list(pieces)
    while len(found) < 2095:
        found.append("".join(rng.choice(pieces) for _ in range(rng.randint(1, 12))))
    return found + ["a" * 20000, " " * 3000, "0123456789" * 1500, "漢" * 5000, "ab " * 6000]


def byte_level(name):
    t = Tokenizer(models.BPE())
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    if name == "qwen2":
        t.normalizer = normalizers.NFC()
        t.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Split(Regex(QWEN), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        )
    else:
        t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=specials, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    t.train_from_iterator(corpus, trainer)
    return t


def metaspace():
    t = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    specials = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=800, special_tokens=specials, show_progress=False, max_token_length=12)
    t.train_from_iterator([w for text in corpus for w in text.split()], trainer)
    raw = json.loads(t.to_str())
    raw["added_tokens"] = [a for a in raw["added_tokens"] if not a["content"].startswith("<0x")]
    t = Tokenizer.from_str(json.dumps(raw))
    t.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A $B", [("<s>", t.token_to_id("<s>"))])
    return t


texts = strings()
for name, t in {"gpt2": byte_level("gpt2"), "qwen2": byte_level("qwen2"), "llama2": metaspace()}.items():
    folder = target / name
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(json.loads(t.to_str()), ensure_ascii=False, separators=(",", ":")) + "\n")
    (folder / "tokenizer_config.json").write_text("{}\n")
    cases = [[text, t.encode(text).ids, t.encode(text, add_special_tokens=False).ids] for text in texts]
    # Long inputs by the hash of their ids, so that the file stays small.
    cases = [[x, a, b] if len(x) < 1000 else [x, hashlib.sha256(json.dumps(a).encode()).hexdigest(), hashlib.sha256(json.dumps(b).encode()).hexdigest()] for x, a, b in cases]
    body = {"made_by": "tools/make_tokenizer_fixtures.py", "versions": {"tokenizers": tokenizers.__version__}, "cases": cases}
    with open(folder / "golden.json.gz", "wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=9, mtime=0) as out:
        out.write(json.dumps(body).encode())
    print(name, t.get_vocab_size(), len(cases), (folder / "golden.json.gz").stat().st_size)
