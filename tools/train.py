"""Train whatever a config describes: a tokenizer, BEiT, a classifier or a segmentor.

python tools/train.py CONFIG [--work-dir DIR] [--resume [CHECKPOINT]] [--amp] [--auto-scale-lr]
                             [--max-iters N | --max-epochs N] [--cfg-options KEY=VALUE ...]
                             [--log-to tensorboard|wandb|mlflow ...]
bash tools/dist_train.sh CONFIG NUM_PROCESSES
"""

import sys
from pathlib import Path

# The folder that has the package: a checkout, or the one of an installation.
FOLDERS = Path(__file__).resolve().parents
sys.path.insert(0, next(str(folder) for folder in FOLDERS if (folder / 'beit_mm').is_dir()))

from beit_mm.cli.run_tool import run_tool
from beit_mm.cli.train import main

if __name__ == '__main__':
    run_tool(main)
