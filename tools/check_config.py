"""Check a config without training anything.

python tools/check_config.py CONFIG [--processes 8] [--cfg-options KEY=VALUE ...]

Finds unknown and misspelt keys, names of classes that do not exist, arguments that a class doesn't
take, schedules that don't end with the training, batches that the learning rate isn't made for,
grids and vocabularies that disagree, weight decay on what it is not for, images normalized twice,
replaced samples in an evaluation, and checkpoints of a stage that differs (docs/config_check.md).
tools/train.py makes the same checks. Errors end with status 1.
"""

import sys
from pathlib import Path

# The folder that has the package: a checkout, or the one of an installation.
FOLDERS = Path(__file__).resolve().parents
sys.path.insert(0, next(str(folder) for folder in FOLDERS if (folder / 'beit_mm').is_dir()))

from beit_mm.cli.check_config import main
from beit_mm.cli.run_tool import run_tool

if __name__ == '__main__':
    run_tool(main)
