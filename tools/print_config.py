"""Print a config with its bases and overrides merged.

python tools/print_config.py CONFIG [--cfg-options KEY=VALUE ...] [--save-path FILE.py]
"""

import sys
from pathlib import Path

# The folder that has the package: a checkout, or the one of an installation.
FOLDERS = Path(__file__).resolve().parents
sys.path.insert(0, next(str(folder) for folder in FOLDERS if (folder / 'beit_mm').is_dir()))

from beit_mm.cli.print_config import main
from beit_mm.cli.run_tool import run_tool

if __name__ == '__main__':
    run_tool(main)
