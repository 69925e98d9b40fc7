"""Report on trainings: a page with words, curves and pictures, and a table in the terminal.

python tools/report.py WORK_DIR [WORK_DIR ...] [--out PAGE.html] [--images FOLDER]
python tools/report.py --table work_dirs/quickstart work_dirs/quickstart_seed1 ...

A folder of work dirs, as the quickstart makes it, is as good. The second form prints mean and range
over several of them.
"""

import sys
from pathlib import Path

# The folder that has the package: a checkout, or the one of an installation.
FOLDERS = Path(__file__).resolve().parents
sys.path.insert(0, next(str(folder) for folder in FOLDERS if (folder / 'beit_mm').is_dir()))

from beit_mm.cli.report import main
from beit_mm.cli.run_tool import run_tool

if __name__ == '__main__':
    run_tool(main)
