"""Draw what the model sees of a data set: images after the pipeline, with masks and labels.

python tools/analysis_tools/browse_dataset.py CONFIG [--part train|val|test] [--out FILE.png]

Each row is a sample: the file, the views of the encoder and of the tokenizer, and the masked
patches; for a classification the label, for a segmentation the classes of the pixels.
"""

import sys
from pathlib import Path

# The folder that has the package: a checkout, or the one of an installation.
FOLDERS = Path(__file__).resolve().parents
sys.path.insert(0, next(str(folder) for folder in FOLDERS if (folder / 'beit_mm').is_dir()))

from beit_mm.cli.browse_dataset import main
from beit_mm.cli.run_tool import run_tool

if __name__ == '__main__':
    run_tool(main)
