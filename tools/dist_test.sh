#!/usr/bin/env bash
# bash tools/dist_test.sh CONFIG CHECKPOINT NUM_PROCESSES [arguments of tools/test.py]
set -euo pipefail
config=${1:?usage: dist_test.sh CONFIG CHECKPOINT NUM_PROCESSES [arguments]}
checkpoint=${2:?usage: dist_test.sh CONFIG CHECKPOINT NUM_PROCESSES [arguments]}
processes=${3:?usage: dist_test.sh CONFIG CHECKPOINT NUM_PROCESSES [arguments]}
exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" \
    --nproc_per_node="$processes" \
    "$(dirname "${BASH_SOURCE[0]}")/test.py" "$config" "$checkpoint" --launcher pytorch "${@:4}"
