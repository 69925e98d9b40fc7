#!/usr/bin/env bash
# bash tools/dist_train.sh CONFIG NUM_PROCESSES [arguments of tools/train.py]
# One process for each GPU (NCCL); on a machine without GPUs, processes on CPUs (gloo).
set -euo pipefail
config=${1:?usage: dist_train.sh CONFIG NUM_PROCESSES [arguments]}
processes=${2:?usage: dist_train.sh CONFIG NUM_PROCESSES [arguments]}
port=${PORT:-29500}
if [ "${NODE_RANK:-0}" = 0 ] && (exec 3<>"/dev/tcp/127.0.0.1/$port") 2> /dev/null; then
    echo "error: port $port is taken, perhaps by another training; choose another: PORT=29511 bash $0 ..." >&2
    exit 1
fi
exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="$port" \
    --nproc_per_node="$processes" \
    "$(dirname "${BASH_SOURCE[0]}")/train.py" "$config" --launcher pytorch "${@:3}"
