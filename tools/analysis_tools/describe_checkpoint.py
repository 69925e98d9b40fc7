"""Print what a checkpoint says of itself: normalization, tokenizer, versions, config.

python tools/analysis_tools/describe_checkpoint.py FILE [--json] [--config]

Nothing in the file is run, and no weights are read. Of checkpoints from elsewhere it prints the
layout, the number of tensors and of parameters, and the parts.
"""

import sys
from pathlib import Path

# The folder that has the package: a checkout, or the one of an installation.
FOLDERS = Path(__file__).resolve().parents
sys.path.insert(0, next(str(folder) for folder in FOLDERS if (folder / 'beit_mm').is_dir()))

from beit_mm.cli.describe_checkpoint import main
from beit_mm.cli.run_tool import run_tool

if __name__ == '__main__':
    run_tool(main)
