"""Cut large images, and their masks, into tiles of one size.

python tools/dataset_converters/tiles.py IMAGES OUT --size 64 [--scale 1.0]
                                         [--masks MASKS OUT_MASKS]

IMAGES/a/b.jpg becomes OUT/a/b_0_0.png, OUT/a/b_0_64.png ..., named by the row and column of their
first pixel: as many whole tiles as fit, from the middle of the image, without overlap. All bands
and 16 bits are kept. --scale resizes before (images by area averaging, masks by nearest pixel).
A mask has the image's name in MASKS, with the ending .png, and its size. OUT must be new.
"""

import sys
from pathlib import Path

# The folder that has the package: a checkout, or the one of an installation.
FOLDERS = Path(__file__).resolve().parents
sys.path.insert(0, next(str(folder) for folder in FOLDERS if (folder / 'beit_mm').is_dir()))

from beit_mm.cli.make_tiles import main
from beit_mm.cli.run_tool import run_tool

if __name__ == '__main__':
    run_tool(main)
