#!/usr/bin/env bash
# The whole chain on digit scenes: data, tokenizer, pre-training, fine-tuning, evaluation, report.
#   bash tools/quickstart.sh [--seed N]      BEIT_MM_PYTHON=/path/to/python3.11 chooses the interpreter
# Everything goes to .venv, data/digit_scenes and work_dirs/quickstart. Run again, it goes on where
# it was stopped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash tools/setup_env.sh digits
exec .venv/bin/python tools/quickstart.py "$@"
