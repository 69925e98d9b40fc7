"""Draw what a tokenizer's codes stand for.

python tools/analysis_tools/visualize_tokenizer.py CONFIG CHECKPOINT --out DIR [--images 256]
    [--codes 16] [--columns 12] [--white 1.0] [--tensorboard] [--cfg-options KEY=VALUE ...]

CONFIG is a tokenizer's, or a pre-training config with its tokenizer in CHECKPOINT. The images are
spread over its val_dataloader (train_dataloader where there is none). Writes to DIR
    atlas.png            the commonest codes, each with image patches that map to it
    histogram.png        how often each code is used, sorted, on a logarithmic scale
    reconstructions.png  images, and what is decoded from their tokens
    traversal.png        the commonest codes decoded: alone, and one put into an image
the last two where the tokenizer can decode. Of more than three channels the first three are shown.
"""

import sys
from pathlib import Path

# The folder that has the package: a checkout, or the one of an installation.
FOLDERS = Path(__file__).resolve().parents
sys.path.insert(0, next(str(folder) for folder in FOLDERS if (folder / 'beit_mm').is_dir()))

from beit_mm.cli.run_tool import run_tool
from beit_mm.cli.visualize_tokenizer import main

if __name__ == '__main__':
    run_tool(main)
