"""Encode the training images of a pre-training config once, in their random crops.

python tools/analysis_tools/cache_tokens.py CONFIG --out DIR [--epochs K] [--seed 0]
    [--batch-size 256] [--workers 2] [--shard-rows 65536] [--cfg-options KEY=VALUE ...]

The cache holds the tokens of K virtual epochs of random crops, flips and jitter, and what they were
made of. Stopped and started again with the same arguments, it goes on after the last whole shard.
docs/token_cache.md says how to train from it.
"""

import sys
from pathlib import Path

# The folder that has the package: a checkout, or the one of an installation.
FOLDERS = Path(__file__).resolve().parents
sys.path.insert(0, next(str(folder) for folder in FOLDERS if (folder / 'beit_mm').is_dir()))

from beit_mm.cli.cache_tokens import main
from beit_mm.cli.run_tool import run_tool

if __name__ == '__main__':
    run_tool(main)
