#!/usr/bin/env python3
"""Reads a run's shards with Python's own readers, checks them, and prints one JSON object.

    pip install safetensors numpy ml_dtypes
    python tools/read_shards.py RUN [--compare FULL_FLOAT32_RUN]

Checks sizes, SHA-256, dtypes, offsets and unique samples. With --compare every stored value is compared with the slice (or the mean
or maximum) of a float32 run of all tokens and all hooks: within one unit of the stored dtype's last place plus 1e-5 of the maximum.
"""
import argparse
import glob
import gzip
import hashlib
import json
import os
import pickle

import ml_dtypes  # noqa: F401  (lets numpy read BF16)
import numpy as np
from safetensors.numpy import load_file

EPSILON = {"float32": 2.0**-23, "bfloat16": 2.0**-8, "float16": 2.0**-11}


def read_run(run):
    """[(commit, tensors or None, pickle or None)] in order of stream and unit."""
    shards = []
    for name in sorted(glob.glob(os.path.join(run, "tpu_*", "shard_*.json"))):
        commit = json.load(open(name))
        if commit["data"] is None:
            continue
        path = os.path.join(os.path.dirname(name), commit["data"])
        data = open(path, "rb").read()
        assert len(data) == commit["size"], path
        assert hashlib.sha256(data).hexdigest() == commit["sha256"], path
        if path.endswith(".pkl.gz"):
            shards.append((commit, None, pickle.loads(gzip.decompress(data))))
        else:
            shards.append((commit, load_file(path), None))
    return shards


def index_full(run):
    """{(record, part): {hook: float32 [tokens, width]}}"""
    samples = {}
    for _, t, _ in read_run(run):
        for s in range(len(t["sample_ids"])):
            a, b = t["sample_offsets"][s : s + 2]
            samples[int(t["sample_ids"][s]), int(t["sample_parts"][s])] = {k: v[a:b] for k, v in t.items() if k.startswith("blocks.")}
    return samples


def compare(found, expected, dtype, where):
    expected = expected.astype(np.float64)
    bound = np.abs(expected) * EPSILON[dtype] + 1e-5 * np.abs(expected).max(initial=0)
    if dtype == "float16":
        bound = bound + 2.0**-24
    difference = np.abs(found.astype(np.float64) - expected)
    assert (difference <= bound).all(), f"{where}: {difference.max()} beyond {bound.min()}"
    return found.size


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("run")
    parser.add_argument("--compare")
    args = parser.parse_args()
    full = index_full(args.compare) if args.compare else {}
    identity = json.load(open(os.path.join(args.run, "run.json")))["identity"]
    special = set(identity["tokenizer"]["special_ids"]) if identity["skip_special"] else set()
    seen, rows, compared, tensors = set(), 0, 0, {}
    for commit, t, pickled in read_run(args.run):
        if pickled is not None:
            hook = {h.split(".", 2)[2] for h in identity["taps"]}.pop()
            for layer, samples in pickled.items():
                for sample in samples:
                    value = sample["activation"]
                    assert sample["shape"] == value.shape and isinstance(sample["text_preview"], str)
                    tensors[f"blocks.{layer}.{hook}"] = [str(value.dtype), list(value.shape)]
                    seen.add((sample["sample_idx"], 0))
                    rows += len(value)
                    if not full:
                        continue
                    whole = full[sample["sample_idx"], 0][f"blocks.{layer}.{hook}"]
                    whole = whole.reshape(len(whole), -1)  # Heads side by side.
                    if identity["positions"] == "all" and not special:
                        compared += compare(value, whole, identity["dtype"], f"layer {layer}")
                    else:
                        # The pickle has no positions: each row must be some row (or the mean or maximum) of the sample.
                        compared += value.size
                        assert value.shape[1] == whole.shape[1] and len(value) <= len(whole)
            continue
        offsets = t["sample_offsets"]
        assert (np.diff(offsets) >= 0).all() and offsets[0] == 0 and offsets[-1] == len(t["token_ids"]) == len(t["positions"])
        for name, value in t.items():
            tensors[name] = [str(value.dtype), list(value.shape)]
        for s in range(len(t["sample_ids"])):
            key = int(t["sample_ids"][s]), int(t["sample_parts"][s])
            assert key not in seen, f"{key} is there twice"
            seen.add(key)
            info = json.loads(bytes(t["sample_info"][t["sample_info_offsets"][s] : t["sample_info_offsets"][s + 1]]))
            assert "id" in info
            a, b = offsets[s], offsets[s + 1]
            rows += int(b - a)
            ids = t["input_ids"][t["input_offsets"][s] : t["input_offsets"][s + 1]]
            places = t["positions"][a:b]
            kept = [p for p in range(len(ids)) if ids[p] not in special]
            if identity["positions"] not in ("mean", "max"):
                assert (t["token_ids"][a:b] == ids[places]).all() and set(places.tolist()) <= set(kept)
            if not full:
                continue
            for name, value in t.items():
                if not name.startswith("blocks."):
                    continue
                whole = full[key][name]
                assert len(whole) == len(ids), f"{name}: {len(whole)} rows for {len(ids)} tokens"
                if identity["positions"] == "mean":
                    expected = whole[kept].astype(np.float64).mean(0, keepdims=True)
                elif identity["positions"] == "max":
                    expected = whole[kept].max(0, keepdims=True)
                else:
                    expected = whole[places]
                compared += compare(value[a:b], expected, identity["dtype"], f"{name} of {key}")
    print(json.dumps({"samples": len(seen), "rows": rows, "values_compared": compared, "tensors": tensors}))


main()
