#!/usr/bin/env python3
"""Computes random samples of a Sluice run again with transformers, and says how far the stored values are from it.

    pip install torch transformers safetensors
    python against_hf.py RUN --model MODEL [--adapter ADAPTER] [--samples 8] [--seed 42] [--json]

`sluice verify RUN --against-hf N` starts it. It shares nothing with Sluice but this file's folder: it reads the shards with
safetensors, feeds the model the token ids that they hold, and takes the hook points from the model's own modules by forward hooks
(hf_hook_points.py). An error is the largest difference of a tensor's stored rows, relative to the largest value of that tensor in the
sample. What cannot be checked is listed. Exit code 0 where all are within the bound of the stored dtype, 65 where one is not,
78 where something is missing.
"""
import argparse
import glob
import json
import math
import os
import random
import sys

# What different orders of summation may do, and the rounding of the largest value to the type that is stored.
ARITHMETIC = 1e-4
TOLERANCE = {"float32": ARITHMETIC, "bfloat16": 2.0**-8 + ARITHMETIC, "float16": 2.0**-11 + ARITHMETIC}


def fail(message):
    print(f"sluice: {message}", file=sys.stderr)
    sys.exit(78)


try:
    import torch
    import transformers
    from safetensors import safe_open
except ImportError as error:
    fail(f"{sys.executable} has no module {error.name}. Install it there: {sys.executable} -m pip install torch transformers safetensors")

from hf_hook_points import hook_points  # noqa: E402  (beside this file; needs torch)


def load_model(path, adapter):
    """The model in float32, on the CPU."""
    version = tuple(int(part) for part in transformers.__version__.split(".")[:2])
    options = {"dtype" if version >= (4, 56) else "torch_dtype": torch.float32, "attn_implementation": "eager", "local_files_only": True}
    folder = path
    if path.endswith(".gguf"):
        options["gguf_file"] = os.path.basename(path)
        folder = os.path.dirname(os.path.abspath(path))
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, **options)
        if adapter:
            import peft

            model = peft.PeftModel.from_pretrained(model, adapter).merge_and_unload()
    except ImportError as error:
        fail(f"{sys.executable} cannot load the model: {error}".split("\n")[0])
    except Exception as error:  # Whatever transformers raises for a model that it cannot read.
        fail(f"transformers {transformers.__version__} cannot load {path}: {type(error).__name__}: {error}".split("\n")[0])
    return model.eval()


def list_samples(run):
    """[(shard's path, how many samples)] in order of stream and unit."""
    shards = []
    for name in glob.glob(os.path.join(run, "tpu_*", "shard_*.json")):
        with open(name) as file:
            commit = json.load(file)
        if commit["data"] is not None:
            shards.append(((commit["stream"], commit["unit"]), os.path.join(os.path.dirname(name), commit["data"]), commit["samples"]))
    return [(path, samples) for _, path, samples in sorted(shards)]


def choose(shards, count, seed):
    """[(shard's path, sample's number in it)], random, each once, in order."""
    total = sum(samples for _, samples in shards)
    chosen, before, found = sorted(random.Random(seed).sample(range(total), min(count, total))), 0, []
    for path, samples in shards:
        found += [(path, n - before) for n in chosen if before <= n < before + samples]
        before += samples
    return found


class Sample:
    """One sample of a shard: what the model read, and which rows are stored."""

    def __init__(self, path, number, identity):
        self.path = path
        with safe_open(path, framework="pt") as file:
            one = lambda name: file.get_slice(name)[number : number + 1][0]
            bounds = lambda name: [int(x) for x in file.get_slice(name)[number : number + 2]]
            self.record, self.part = int(one("sample_ids")), int(one("sample_parts"))
            a, b = bounds("input_offsets")
            self.ids = file.get_slice("input_ids")[a:b].tolist()
            self.first, self.end = bounds("sample_offsets")
            self.places = file.get_slice("positions")[self.first : self.end].long()
            a, b = bounds("sample_info_offsets")
            info = json.loads(bytes(file.get_slice("sample_info")[a:b].tolist()))
        prompt = identity["prompt"]
        # What the model reads alone: the sample, or each document's piece of a context.
        self.starts = [0]
        if prompt["context_size"] is not None and not prompt["attend_across"]:
            self.starts = [document["place"] for document in info["documents"]]
        special = set(identity["tokenizer"]["special_ids"]) if identity["skip_special"] else set()
        self.kept = torch.tensor([p for p, token in enumerate(self.ids) if token not in special], dtype=torch.long)

    def stored(self, tap):
        """float32 [rows, width], and the dtype in the file."""
        with safe_open(self.path, framework="pt") as file:
            rows = file.get_slice(tap)[self.first : self.end]
        return rows.flatten(1).float(), str(rows.dtype).removeprefix("torch.")

    def pieces(self):
        ends = [*self.starts[1:], len(self.ids)]
        return [self.ids[start:end] for start, end in zip(self.starts, ends)]

    def select(self, whole, positions):
        """The rows of all tokens' values that are stored."""
        if positions == "mean":
            return whole[self.kept].mean(0, keepdim=True)
        if positions == "max":
            return whole[self.kept].amax(0, keepdim=True)
        return whole[self.places]


def relative_error(stored, expected, scale):
    """The largest difference; infinite where only one of the two is finite, none where neither is, in the same way."""
    if stored.shape != expected.shape:
        return math.inf
    difference = (stored.double() - expected.double()).abs()
    same = (stored == expected) | (stored.isnan() & expected.isnan())
    difference = torch.where(same, 0.0, difference.nan_to_num(nan=math.inf, posinf=math.inf))
    worst = float(difference.max()) if difference.numel() else 0.0
    return worst / scale if scale > 0 else (0.0 if worst == 0 else math.inf)


def compare(model, sample, identity, tensors, not_checked):
    """Adds the errors of one sample to the tensors' worst."""
    positions = identity["positions"].strip()
    pieces = [hook_points(model, piece) for piece in sample.pieces()]
    for tap in identity["taps"]:
        try:
            whole = torch.cat([points[tap]() for points in pieces])
        except (KeyError, AttributeError, IndexError) as error:
            not_checked[tap] = f"no module of {type(model).__name__} gives it ({type(error).__name__}: {error})"
            continue
        finite = whole[whole.isfinite()]
        scale = float(finite.abs().max()) if finite.numel() else 0.0
        stored, dtype = sample.stored(tap)
        error = relative_error(stored, sample.select(whole, positions), scale)
        entry = tensors.setdefault(tap, {"tensor": tap, "error": 0.0, "tolerance": TOLERANCE[dtype], "rows": 0, "worst": None})
        entry["rows"] += len(stored)
        if entry["worst"] is None or error > entry["error"]:
            entry["error"], entry["worst"] = error, {"record": sample.record, "part": sample.part}


def main():
    parser = argparse.ArgumentParser(description="compares random samples of a Sluice run with transformers")
    parser.add_argument("run")
    parser.add_argument("--model", required=True, help="the folder or .gguf file that the run was made with")
    parser.add_argument("--adapter", help="the LoRA adapter that was merged into it")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    args = parser.parse_args()
    with open(os.path.join(args.run, "run.json")) as file:
        identity = json.load(file)["identity"]
    if identity["shard_format"] != "safetensors":
        fail("a pkl.gz run does not hold the token ids that the model read: only safetensors runs can be computed again")
    transformers.logging.set_verbosity_error()
    model = load_model(args.model, args.adapter)
    tensors, not_checked, samples = {}, {}, []
    chosen = choose(list_samples(args.run), args.samples, args.seed)
    for done, (path, number) in enumerate(chosen, 1):
        sample = Sample(path, number, identity)
        compare(model, sample, identity, tensors, not_checked)
        samples.append({"record": sample.record, "part": sample.part, "tokens": len(sample.ids)})
        print(f"compared {done} of {len(chosen)} samples", file=sys.stderr, flush=True)
    for entry in tensors.values():
        entry["ok"] = entry["error"] <= entry["tolerance"]
        entry["error"] = entry["error"] if math.isfinite(entry["error"]) else None  # JSON has no infinity.
    ok = bool(tensors) and all(entry["ok"] for entry in tensors.values())
    report = {
        "ok": ok,
        "seed": args.seed,
        "samples": samples,
        "tensors": list(tensors.values()),
        "not_checked": [{"tensor": tap, "reason": reason} for tap, reason in not_checked.items()],
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }
    if args.json:
        print(json.dumps(report))
    else:
        for entry in report["tensors"]:
            error = "infinite" if entry["error"] is None else f"{entry['error']:.1e}"
            print(f"{entry['tensor']:40} {error:>9} of {entry['tolerance']:.1e}{'' if entry['ok'] else '  TOO FAR'}")
        for entry in report["not_checked"]:
            print(f"{entry['tensor']:40} not checked: {entry['reason']}")
    sys.exit(0 if ok else 65)


if __name__ == "__main__":
    main()
