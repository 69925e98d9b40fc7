"""Convert a BEiT checkpoint between layouts, and prove that it computes the same.

python tools/model_converters/convert.py SOURCE [SOURCE ...] TARGET [--from LAYOUT] [--to LAYOUT]
python tools/model_converters/convert.py SOURCE

Layouts: beit_mm, unilm and unilm_seg (the original), huggingface, timm, mmpretrain, mmseg. With
one path it says what the file is. Before TARGET is written, the same random batch goes through a
model made of the source and one made of the result. Nothing is written if they differ, if the
backbone is not fully covered, or if TARGET exists.
"""

import sys
from pathlib import Path

# The folder that has the package: a checkout, or the one of an installation.
FOLDERS = Path(__file__).resolve().parents
sys.path.insert(0, next(str(folder) for folder in FOLDERS if (folder / 'beit_mm').is_dir()))

from beit_mm.cli.convert import main
from beit_mm.cli.run_tool import run_tool

if __name__ == '__main__':
    run_tool(main)
