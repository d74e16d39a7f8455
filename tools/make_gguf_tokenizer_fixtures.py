#!/usr/bin/env python3
"""Writes test/fixtures/gguf/tokenizers: GGUF files that hold a tokenizer alone, and what Python's `tokenizers` gives for the strings
of test/fixtures/tokenizers with the same vocabulary in the form that the model's page publishes.

    pip install gguf tokenizers transformers        (versions in each golden file)
    python tools/make_gguf_tokenizer_fixtures.py

Vocabularies are those of test/fixtures/tokenizers. Each string's ids stand as 12 hexadecimal digits of the SHA-256 of their JSON.
"""
import gzip
import hashlib
import json
import pathlib

import gguf
import tokenizers
import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers.tokenization_utils_base import generate_merges

root = pathlib.Path(__file__).resolve().parent.parent / "test" / "fixtures"
target = root / "gguf" / "tokenizers"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace("{1,3}", "")
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['content'] }}{% endfor %}"


def source(name):
    raw = json.loads((root / "tokenizers" / name / "tokenizer.json").read_text())
    vocab = raw["model"]["vocab"]
    added = {t["content"] for t in raw["added_tokens"]}
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in raw["model"]["merges"]]
    return [t for t, _ in sorted(vocab.items(), key=lambda item: item[1])], merges, added


def texts():
    with gzip.open(root / "tokenizers" / "gpt2" / "golden.json.gz") as f:
        return [case[0] for case in json.load(f)["cases"]]


def short(ids):
    return hashlib.sha256(json.dumps(ids, separators=(",", ":")).encode()).hexdigest()[:12]


def write_golden(file, tokenizer):
    cases = [[short(tokenizer.encode(t).ids), short(tokenizer.encode(t, add_special_tokens=False).ids)] for t in texts()]
    made = {"made_by": "tools/make_gguf_tokenizer_fixtures.py", "versions": {"tokenizers": tokenizers.__version__, "transformers": transformers.__version__}}
    with open(file, "wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=9, mtime=0) as out:
        out.write(json.dumps({**made, "cases": cases}).encode())


def byte_level(vocab, merges, pre, normalizer=None, ignore_merges=False):
    t = Tokenizer(models.BPE({token: i for i, token in enumerate(vocab)}, merges, ignore_merges=ignore_merges))
    t.pre_tokenizer = pre
    if normalizer:
        t.normalizer = normalizer
    return t


def split(regex):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(regex), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def template(t, token):
    t.post_processor = processors.TemplateProcessing(f"{token} $A", f"{token} $A $B", [(token, t.token_to_id(token))])


def gguf_file(name, kind, pre, tokens, types, **more):
    w = gguf.GGUFWriter(target / f"{name}.gguf", "llama")
    w.add_tokenizer_model(kind)
    if pre:
        w.add_tokenizer_pre(pre)
    w.add_token_list(tokens)
    w.add_token_types(types)
    for key, value in more.items():
        getattr(w, f"add_{key}")(value)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def make_byte_level(name, pre, vocabulary, build, **more):
    tokens, merges, added = source(vocabulary)
    types = [3 if t in added else 1 for t in tokens]
    types[tokens.index("<|im_end|>")] = 4  # user-defined: never cut, not special
    gguf_file(name, "gpt2", pre, tokens, types, token_merges=[" ".join(m) for m in merges], eos_token_id=tokens.index("<|endoftext|>"), chat_template=TEMPLATE, **more)
    t = build(tokens, merges)
    t.add_special_tokens([AddedToken(c, normalized=False) for c in tokens if c in added and c != "<|im_end|>"])
    t.add_tokens([AddedToken("<|im_end|>", normalized=False)])
    if "bos_token_id" in more:
        template(t, "<|im_start|>")
    write_golden(target / f"{name}.json.gz", t)


def make_sentencepiece():
    tokens, merges, _ = source("llama2")
    types = [2 if t == "<unk>" else 3 if t in ("<s>", "</s>") else 6 if t.startswith("<0x") else 1 for t in tokens]
    rank = {"".join(m): -float(i) for i, m in reversed(list(enumerate(merges)))}
    scores = [rank.get(t, -1e4 if len(t) == 1 else 0.0) for t in tokens]
    gguf_file("llama-spm", "llama", "default", tokens, types, token_scores=scores, bos_token_id=tokens.index("<s>"), eos_token_id=tokens.index("</s>"), unk_token_id=tokens.index("<unk>"))
    vocab = {t: i for i, t in enumerate(tokens)}
    t = Tokenizer(models.BPE(vocab, generate_merges(vocab, dict(zip(tokens, scores))), unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    t.add_special_tokens([AddedToken(c, normalized=False) for c in ("<unk>", "<s>", "</s>")])
    template(t, "<s>")
    write_golden(target / "llama-spm.json.gz", t)


if __name__ == "__main__":
    target.mkdir(parents=True, exist_ok=True)
    whole = pre_tokenizers.ByteLevel(add_prefix_space=False)
    make_byte_level("gpt-2", "gpt-2", "gpt2", lambda v, m: byte_level(v, m, whole))
    make_byte_level("smollm", "smollm", "gpt2", lambda v, m: byte_level(v, m, pre_tokenizers.Sequence([pre_tokenizers.Digits(True), whole])), add_bos_token=False)
    make_byte_level("qwen2", "qwen2", "qwen2", lambda v, m: byte_level(v, m, split(QWEN2), normalizers.NFC()))
    im_start = source("qwen2")[0].index("<|im_start|>")
    make_byte_level("llama-bpe", "llama-bpe", "qwen2", lambda v, m: byte_level(v, m, split(LLAMA3), None, True), bos_token_id=im_start)
    make_sentencepiece()
    for file in sorted(target.iterdir()):
        print(file.name, file.stat().st_size)
