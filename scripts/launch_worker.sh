#!/usr/bin/env bash
# One worker, from the environment of existing launch scripts: TPU_WORKER_ID alone is enough. Streams are read from
# ./data/streams (DATASET_DIR), the run goes to ./activations (OUTPUT_DIR), and checkpoint_worker_N.json is copied to ./checkpoints.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export MODEL_PATH=${MODEL_PATH:-$root/assets/model}
export DATASET_DIR=${DATASET_DIR:-./data/streams}
export OUTPUT_DIR=${OUTPUT_DIR:-./activations}
export CHECKPOINT_DIR=${CHECKPOINT_DIR:-./checkpoints}
# The bundled model was trained on ARC prompts; of any other the caller says what it reads.
prompt=()
case " $* " in
  *" --model "* | *" --model="* | *" --prompt "* | *" --prompt="*) ;;
  *) if [ "$MODEL_PATH" = "$root/assets/model" ]; then prompt=(--prompt arc); fi ;;
esac
# exec: the scheduler's signals must reach the worker itself, and its exit code the scheduler (75: start me again).
exec node "$root/dist/cli/sluice.js" extract ${prompt[@]+"${prompt[@]}"} "$@"
