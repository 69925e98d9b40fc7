#!/usr/bin/env bash
# GPUS=8 GPUS_PER_NODE=8 CPUS_PER_TASK=5 bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG \
#     [arguments of tools/train.py]        SRUN_ARGS are handed to srun.
set -euo pipefail
partition=${1:?usage: slurm_train.sh PARTITION JOB_NAME CONFIG [arguments]}
job=${2:?usage: slurm_train.sh PARTITION JOB_NAME CONFIG [arguments]}
config=${3:?usage: slurm_train.sh PARTITION JOB_NAME CONFIG [arguments]}
gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
# shellcheck disable=SC2086
exec srun --partition="$partition" --job-name="$job" --gres="gpu:$per_node" \
    --ntasks="$gpus" --ntasks-per-node="$per_node" --cpus-per-task="${CPUS_PER_TASK:-5}" \
    --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "$(dirname "${BASH_SOURCE[0]}")/train.py" "$config" --launcher slurm \
    "${@:4}"
