"""Open a page in the browser that asks a model about images.

python tools/demo.py MODEL [--port 7860]

MODEL is a work dir, a checkpoint or an exported folder. The page can be reached from this machine
alone, and it sends nothing anywhere. It needs gradio: pip install "beit_mm[demo]".
"""

import sys
from pathlib import Path

# The folder that has the package: a checkout, or the one of an installation.
FOLDERS = Path(__file__).resolve().parents
sys.path.insert(0, next(str(folder) for folder in FOLDERS if (folder / 'beit_mm').is_dir()))

from beit_mm.cli.demo import main
from beit_mm.cli.run_tool import run_tool

if __name__ == '__main__':
    run_tool(main)
