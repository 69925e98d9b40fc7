"""Write a folder that another library loads by itself, after loading it for a proof.

python tools/export.py MODEL FOLDER --to huggingface|timm|onnx|beit_mm [--ema] [--half]

MODEL is a work dir, a checkpoint or an exported folder. FOLDER appears when the outputs of the
library that it is for equal ours, and not at all otherwise. Its README.md says how to load it.
"""

import sys
from pathlib import Path

# The folder that has the package: a checkout, or the one of an installation.
FOLDERS = Path(__file__).resolve().parents
sys.path.insert(0, next(str(folder) for folder in FOLDERS if (folder / 'beit_mm').is_dir()))

from beit_mm.cli.export import main
from beit_mm.cli.run_tool import run_tool

if __name__ == '__main__':
    run_tool(main)
