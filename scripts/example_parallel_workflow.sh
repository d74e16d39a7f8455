#!/usr/bin/env bash
# The whole workflow on one machine: streams, four workers in parallel, one killed and started again, a look at its
# checkpoint, verify, aggregate. Give a folder to work in (default ./workflow) and how many tasks (default 200).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=${1:-./workflow}
mkdir -p "$folder"
cd "$folder"

"$here/create_dataset_streams" --dataset arc --num_streams 4 --output_dir data/streams --max_samples "${2:-200}"

launch() { TPU_WORKER_ID=$1 "$here/launch_worker.sh" --samples-per-shard 5 --threads 1 --lease-seconds 5 >"worker_$1.log" 2>&1 & }
for id in 0 2 3; do launch "$id"; done
launch 1
victim=$!
for _ in $(seq 300); do
  [ "$(find activations -path '*tpu_1/shard_*.json' 2>/dev/null | wc -l)" -ge 1 ] && break
  sleep 0.1
done
kill -9 "$victim" 2>/dev/null || true
wait "$victim" 2>/dev/null || true
echo "worker 1 was killed; its checkpoint:"
cat checkpoints/checkpoint_worker_1.json
launch 1
wait

echo "after the restart:"
if command -v jq >/dev/null; then jq '{status, total_shards, last_processed_sample_idx}' checkpoints/checkpoint_worker_1.json; else cat checkpoints/checkpoint_worker_1.json; fi
node "$here/../dist/cli/sluice.js" verify activations --deep
node "$here/../dist/cli/sluice.js" export activations --to npy --layers -1 --output aggregated
