"""Train a tokenizer, BEiT, and what labels and masks allow, on a folder of your own images.

python tools/chain.py IMAGES [--labels FOLDER|CSV] [--masks FOLDER] [--size N] [--minutes M]
                             [--epochs E] [--init WEIGHTS] [--out DIR]

It looks at the images, chooses sizes, writes a config for each stage, trains them and reports.
Stopped and called again, it goes on. docs/your_folder.md has an example.
"""

import sys
from pathlib import Path

# The folder that has the package: a checkout, or the one of an installation.
FOLDERS = Path(__file__).resolve().parents
sys.path.insert(0, next(str(folder) for folder in FOLDERS if (folder / 'beit_mm').is_dir()))

from beit_mm.cli.chain import main
from beit_mm.cli.run_tool import run_tool

if __name__ == '__main__':
    run_tool(main)
