#!/usr/bin/env bash
# bash tools/dist_train.sh CONFIG NUM_PROCESSES [arguments of tools/train.py]
# One process for each GPU (NCCL); on a machine without GPUs, processes on CPUs (gloo).
set -euo pipefail
config=${1:?usage: dist_train.sh CONFIG NUM_PROCESSES [arguments]}
processes=${2:?usage: dist_train.sh CONFIG NUM_PROCESSES [arguments]}
exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" \
    --nproc_per_node="$processes" \
    "$(dirname "${BASH_SOURCE[0]}")/train.py" "$config" --launcher pytorch "${@:3}"
