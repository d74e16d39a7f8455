#!/usr/bin/env python3
"""What a plain script with Hugging Face transformers needs for the same job: the time to beat.

    pip install torch==2.15.0 transformers==5.23.0 safetensors==0.8.0 numpy
    python bench/peers/hf_extract.py --model DIR --dataset FILE --output DIR [--threads 2] [--max-samples 64] [--compute-dtype bfloat16]

FILE holds lines of {"token_ids": [...]}. Samples run in the file's order, padded on the right to the longest of their batch, with
an attention mask; every layer's hidden states of every real token are written, one safetensors file a batch. Loading the model and
one short forward pass are not timed; slicing and writing are. Prints one JSON object.
"""
import argparse
import json
import pathlib
import platform
import time

import safetensors
import safetensors.torch
import torch
import transformers

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def read_samples(path, limit):
    """The token ids of the first `limit` lines, or of all."""
    with open(path, encoding="utf-8") as lines:
        samples = [json.loads(line)["token_ids"] for line in lines if line.strip()]
    return samples[:limit]


def pad(samples):
    """Ids and mask, [samples, longest], padded on the right with 0."""
    longest = max(map(len, samples))
    ids = torch.zeros((len(samples), longest), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, sample in enumerate(samples):
        ids[row, : len(sample)] = torch.tensor(sample)
        mask[row, : len(sample)] = 1
    return ids, mask


def hidden_states(model, samples, first, dtype):
    """{"<sample>.<layer>": [tokens, width]} of one batch; layer 0 is the embedding, the last one is after the final norm."""
    ids, mask = pad(samples)
    states = model(input_ids=ids, attention_mask=mask, use_cache=False, output_hidden_states=True).hidden_states
    # A copy without padding: safetensors writes contiguous tensors only.
    return {
        f"{first + row}.{layer}": state[row, : len(sample)].to(dtype, copy=True)
        for row, sample in enumerate(samples)
        for layer, state in enumerate(states)
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--max-samples", type=int, default=None)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--compute-dtype", choices=DTYPES, default="float32")
    parser.add_argument("--store-dtype", choices=DTYPES, default="float32")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    output = pathlib.Path(args.output)
    output.mkdir(parents=True, exist_ok=True)
    samples = read_samples(args.dataset, args.max_samples)
    model = transformers.AutoModel.from_pretrained(args.model, dtype=DTYPES[args.compute_dtype]).eval()

    computed = 0
    with torch.inference_mode():
        hidden_states(model, [samples[0][:8]], 0, torch.float32)
        started, cpu_started = time.perf_counter(), time.process_time()
        for first in range(0, len(samples), args.batch_size):
            batch = samples[first : first + args.batch_size]
            tensors = hidden_states(model, batch, first, DTYPES[args.store_dtype])
            safetensors.torch.save_file(tensors, output / f"batch_{first // args.batch_size:05d}.safetensors")
            computed += len(batch) * max(map(len, batch))
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started

    real = sum(map(len, samples))
    versions = {"python": platform.python_version(), "torch": torch.__version__, "transformers": transformers.__version__, "safetensors": safetensors.__version__}
    report = {
        "samples": len(samples),
        "real_tokens": real,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "tokens_per_s": real / seconds,
        "padding_share": 1 - real / computed,
        "threads": torch.get_num_threads(),
        "attention": model.config._attn_implementation,
        "compute_dtype": args.compute_dtype,
        "store_dtype": args.store_dtype,
        "versions": versions,
    }
    print(json.dumps(report))


main()
