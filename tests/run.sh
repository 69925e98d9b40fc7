#!/usr/bin/env bash
# Sets up what the tests need in .venv and runs pytest: bash tests/run.sh [pytest arguments]
# They run in as many processes as there are cores, up to 4; -n 0 runs them in one.
# BEIT_MM_PYTHON=/path/to/python3.11 chooses the interpreter.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bash "$root/tools/setup_env.sh" tests
cd "$root"
exec .venv/bin/python -m pytest -n auto --maxprocesses 4 --dist worksteal "$@"
