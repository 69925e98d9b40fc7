"""Check the files that a config reads, each image, mask and label, before training.

python tools/check_dataset.py CONFIG [--split train|val|test|all] [--max-images N] [--workers N]
    [--out report.json] [--cfg-options KEY=VALUE ...]

Every file is decoded whole, in several processes. A finding names its file and what to do;
docs/data.md explains the names. Errors end with status 1.
"""

import sys
from pathlib import Path

# The folder that has the package: a checkout, or the one of an installation.
FOLDERS = Path(__file__).resolve().parents
sys.path.insert(0, next(str(folder) for folder in FOLDERS if (folder / 'beit_mm').is_dir()))

from beit_mm.cli.check_dataset import main
from beit_mm.cli.run_tool import run_tool

if __name__ == '__main__':
    run_tool(main)
