"""Measure what the features of encoders know of classes, for each layer and pooling.

python tools/analysis_tools/probe.py MODEL [MODEL ...] --images FOLDER [--labels TABLE]

A MODEL is a work dir, a checkpoint or an exported folder of this package, timm:NAME,
timm:NAME=FILE, hf:MODEL_TYPE or hf:FOLDER; without a file or folder the weights are random. FOLDER
has a folder for each class. The table has nearest neighbors, a linear probe and a few-shot
classification. --out FILE.csv writes it. --config gives the configs of checkpoints that do not
describe themselves, or have plugins.
"""

import sys
from pathlib import Path

# The folder that has the package: a checkout, or the one of an installation.
FOLDERS = Path(__file__).resolve().parents
sys.path.insert(0, next(str(folder) for folder in FOLDERS if (folder / 'beit_mm').is_dir()))

from beit_mm.cli.probe import main
from beit_mm.cli.run_tool import run_tool

if __name__ == '__main__':
    run_tool(main)
