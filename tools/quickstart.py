"""Run the stages of tools/quickstart.sh, each one a command that you could type yourself.

python tools/quickstart.py [--seed 0] [--work-dir DIR] [--data DIR] [--smoke]

A stage that is finished is skipped when the command and the config are the same. One that was
stopped goes on from its last checkpoint.
"""

import sys
from pathlib import Path

# The folder that has the package: a checkout, or the one of an installation.
FOLDERS = Path(__file__).resolve().parents
sys.path.insert(0, next(str(folder) for folder in FOLDERS if (folder / 'beit_mm').is_dir()))

from beit_mm.cli.quickstart import main
from beit_mm.cli.run_tool import run_tool

if __name__ == '__main__':
    run_tool(main)
