"""Evaluate a checkpoint with the test data and metrics of its config.

python tools/test.py CONFIG CHECKPOINT [--out FILE.json|.csv|.pkl] [--show-dir DIR] [--tta]
bash tools/dist_test.sh CONFIG CHECKPOINT NUM_PROCESSES
"""

import sys
from pathlib import Path

# The folder that has the package: a checkout, or the one of an installation.
FOLDERS = Path(__file__).resolve().parents
sys.path.insert(0, next(str(folder) for folder in FOLDERS if (folder / 'beit_mm').is_dir()))

from beit_mm.cli.run_tool import run_tool
from beit_mm.cli.test import main

if __name__ == '__main__':
    run_tool(main)
