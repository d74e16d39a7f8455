#!/usr/bin/env python3
"""Compiles a program of tools/lower-model.mjs for a TPU that is not here, and prints the memory that it takes and what it sends between chips.

    pip install jax==0.10.2 libtpu==0.0.52
    python tools/compile_for_tpu.py program.mlir --topology v5e:2x2 --partitions 4

Takes minutes on a small machine. --topology as JAX names it (v4:2x2x1, v5e:2x2, v6e:2x4).
"""
import argparse
import collections
import os
import re
import time

os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
os.environ["JAX_PLATFORMS"] = "cpu"

import numpy as np
from jax._src.interpreters import mlir
from jax._src.lib import xla_client
from jax.experimental import topologies
from jaxlib.mlir import ir

COLLECTIVES = "all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("program")
parser.add_argument("--topology", required=True)
parser.add_argument("--partitions", type=int, default=1)
args = parser.parse_args()

topology = topologies.get_topology_desc(platform="tpu", topology_name=args.topology)
devices = topology.devices[: args.partitions]
options = xla_client.CompileOptions()
build = options.executable_build_options
build.num_replicas, build.num_partitions = 1, args.partitions
build.use_spmd_partitioning = build.use_shardy_partitioner = args.partitions > 1
build.device_assignment = xla_client.DeviceAssignment.create(np.array([[d.id for d in devices]]))

started = time.time()
with mlir.make_ir_context(), open(args.program) as file:
    module = ir.Module.parse(file.read())
    compiled = devices[0].client.compile(module, xla_client.DeviceList(tuple(devices)), options, [])
print(f"compiled for {len(devices)} of {len(topology.devices)} devices {devices[0].device_kind} in {time.time() - started:.0f} s")
memory = compiled.get_compiled_memory_stats()
for name in ("argument", "output", "temp", "generated_code"):
    print(f"{name:15} {getattr(memory, f'{name}_size_in_bytes') / 1e6:8.1f} MB on each device")
found = collections.Counter()
for line in compiled.hlo_modules()[0].to_string().splitlines():
    match = re.search(rf"= (\w+\[[\d,]*\]).* ({COLLECTIVES})(?:-start)?\(", line)
    if match:
        found[match.group(2), match.group(1)] += 1
# One that runs beside a product is there several times: where it starts, in the product, and where it ends.
for (kind, shape), count in found.items():
    print(f"{kind:15} {count:5} x {shape}")
