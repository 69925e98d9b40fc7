"""A tool is its command line, the path of the package and a call: its logic is in beit_mm.cli."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = sorted((ROOT / 'tools').rglob('*.py'))
CODE = """
import sys
from pathlib import Path

# The folder that has the package: a checkout, or the one of an installation.
FOLDERS = Path(__file__).resolve().parents
sys.path.insert(0, next(str(folder) for folder in FOLDERS if (folder / 'beit_mm').is_dir()))

from beit_mm.cli.run_tool import run_tool
from beit_mm.cli.{verb} import main

if __name__ == '__main__':
    run_tool(main)
"""


@pytest.mark.parametrize('path', TOOLS, ids=lambda path: path.stem)
def test_tool__calls_main_and_does_no_more(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 50
    docstring = ast.get_docstring(ast.parse(text), clean=False)
    assert f'\npython {path.relative_to(ROOT)} ' in docstring
    code = text.removeprefix(f'"""{docstring}"""\n')
    verbs = [file.stem for file in (ROOT / 'beit_mm/cli').glob('*.py')]
    assert sorted(code.split('\n')) in [sorted(CODE.format(verb=v).split('\n')) for v in verbs]
