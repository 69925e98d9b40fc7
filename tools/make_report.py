"""Show the results of tools/quickstart.py as a table, pictures and one self-contained page.

python tools/make_report.py work_dirs/quickstart [--data data/digit_scenes] [--figure FILE.svg]
python tools/make_report.py --table work_dirs/quickstart work_dirs/quickstart_seed1 ...

The second form prints mean and range over several runs.
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
