"""Write the features of images.

python tools/embed.py MODEL IMAGES --out PATH [options, see --help]

MODEL is a work dir, a checkpoint or an exported folder; IMAGES are files, folders or patterns.
Stopped and called again, it goes on. docs/use_your_model.md has examples.
"""

import sys
from pathlib import Path

# The folder that has the package: a checkout, or the one of an installation.
FOLDERS = Path(__file__).resolve().parents
sys.path.insert(0, next(str(folder) for folder in FOLDERS if (folder / 'beit_mm').is_dir()))

from beit_mm.cli.embed import main
from beit_mm.cli.run_tool import run_tool

if __name__ == '__main__':
    run_tool(main)
