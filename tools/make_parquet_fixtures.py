#!/usr/bin/env python3
"""Writes test/fixtures/parquet: the same 130 rows in Parquet files of several codecs, encodings, page versions and row groups, and as JSON
lines in the form in which Sluice reads them; these also compressed by zstd, in two frames.

    pip install pyarrow==26.*        (or what the file's own `created_by` says)
    python tools/make_parquet_fixtures.py
"""
import base64
import datetime
import gzip
import json
import pathlib
import random

import pyarrow as pa
import pyarrow.parquet as pq

target = pathlib.Path(__file__).resolve().parent.parent / "test" / "fixtures" / "parquet"
target.mkdir(parents=True, exist_ok=True)
rng = random.Random(7)
WORDS = ["the", "river", "naïve", "東京", "\U0001f600", "line\nbreak", '"quoted"', ""]


def text():
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(0, 30)))


def grid():
    size = rng.randint(1, 6)
    return [[rng.randint(0, 9) for _ in range(size)] for _ in range(rng.randint(1, 6))]


def maybe(value):
    return None if rng.random() < 0.15 else value


rows = []
for i in range(130):
    rows.append(
        {
            "id": f"row-{i}",
            "text": maybe(text()),
            "language": rng.choice(["en", "de", "ja"]),
            "token_ids": maybe([rng.randint(0, 198) for _ in range(rng.randint(0, 40))]),
            "long_ids": [rng.randint(0, 198) for _ in range(rng.randint(1, 5))],
            "messages": maybe([{"role": rng.choice(["user", "assistant"]), "content": text()} for _ in range(rng.randint(0, 4))]),
            "examples": [[grid(), grid()] for _ in range(rng.randint(0, 3))],
            "meta": maybe({"source": maybe("web"), "score": maybe(rng.random()), "deep": {"flag": maybe(True)}}),
            "tags": maybe({"a": 1, "b": rng.randint(0, 9)}),
            "big": maybe(2**60 + i),
            "when": maybe(datetime.datetime(2024, 1, 1, 12, 30, i % 60, 250_000)),
            "raw": maybe(bytes([255, 0, i])),
        }
    )
schema = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.string()),
        ("language", pa.string()),
        ("token_ids", pa.list_(pa.int32())),
        pa.field("long_ids", pa.list_(pa.field("item", pa.int64(), nullable=False)), nullable=False),
        ("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
        ("examples", pa.list_(pa.list_(pa.list_(pa.list_(pa.int64()))))),
        ("meta", pa.struct([("source", pa.string()), ("score", pa.float64()), ("deep", pa.struct([("flag", pa.bool_())]))])),
        ("tags", pa.map_(pa.string(), pa.int64())),
        ("big", pa.int64()),
        ("when", pa.timestamp("ms", tz="UTC")),
        ("raw", pa.binary()),
    ]
)
table = pa.Table.from_pylist([{**row, "tags": row["tags"] and list(row["tags"].items())} for row in rows], schema=schema)


def as_json(value):
    if isinstance(value, dict):
        return {name: as_json(member) for name, member in value.items()}
    if isinstance(value, list):
        return [as_json(item) for item in value]
    if isinstance(value, datetime.datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, int) and abs(value) > 2**53 - 1:
        return str(value)
    return value


lines = "".join(json.dumps(as_json(row), ensure_ascii=False) + "\n" for row in rows).encode()
with gzip.GzipFile(target / "rows.jsonl.gz", "wb", mtime=0) as file:
    file.write(lines)
zstd = pa.Codec("zstd")
with open(target / "rows.jsonl.zst", "wb") as file:
    for part in (lines[:30_000], lines[30_000:]):
        file.write(zstd.compress(part, asbytes=True))

pages = {"data_page_size": 300, "write_batch_size": 8}
pq.write_table(table, target / "snappy.parquet", compression="snappy", row_group_size=50, **pages)
pq.write_table(table, target / "zstd-v2.parquet", compression="zstd", row_group_size=50, data_page_version="2.0", **pages)
pq.write_table(table, target / "gzip-plain.parquet", compression="gzip", use_dictionary=False, row_group_size=45, **pages)
pq.write_table(table, target / "brotli-one-group.parquet", compression="brotli", write_page_index=True, **pages)
pq.write_table(table, target / "lz4.parquet", compression="lz4", row_group_size=7)
pq.write_table(table, target / "uncompressed-v2.parquet", compression="none", data_page_version="2.0", row_group_size=64, write_page_index=True, **pages)
encodings = {"id": "DELTA_BYTE_ARRAY", "text": "DELTA_BYTE_ARRAY", "language": "DELTA_LENGTH_BYTE_ARRAY", "raw": "DELTA_LENGTH_BYTE_ARRAY"}
encodings |= {"token_ids.list.element": "DELTA_BINARY_PACKED", "long_ids.list.item": "DELTA_BINARY_PACKED", "big": "DELTA_BINARY_PACKED"}
encodings |= {"when": "DELTA_BINARY_PACKED", "meta.score": "BYTE_STREAM_SPLIT", "meta.deep.flag": "RLE"}
for version in ("1.0", "2.0"):
    name = f"delta-v{version[0]}.parquet"
    pq.write_table(table, target / name, compression="zstd", use_dictionary=False, column_encoding=encodings, data_page_version=version, row_group_size=70, data_page_size=2000, write_batch_size=16)
