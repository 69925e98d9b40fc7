"""Compute mean and standard deviation of each band of a folder of images, for a config.

python tools/analysis_tools/band_statistics.py FOLDER [--channels N] [--bands 0 1 2] [--layout chw]
    [--extensions .png .tif .npy] [--limit 1000]

Images are read by LoadMultiBandImage: any number of bands, their own bit depth, RGB as RGB.
"""

import sys
from pathlib import Path

# The folder that has the package: a checkout, or the one of an installation.
FOLDERS = Path(__file__).resolve().parents
sys.path.insert(0, next(str(folder) for folder in FOLDERS if (folder / 'beit_mm').is_dir()))

from beit_mm.cli.band_statistics import main
from beit_mm.cli.run_tool import run_tool

if __name__ == '__main__':
    run_tool(main)
