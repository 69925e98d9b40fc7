import ast
import sys
from pathlib import Path

import beit_mm.checkpoints

FOLDER = Path(beit_mm.checkpoints.__file__).parent


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split('.')[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.split('.')[0])
    return names


def test_checkpoints__know_nothing_of_the_models():
    """Whoever loads a checkpoint needs torch and MMEngine, and no plugin of ours."""
    found = set().union(*map(imported, FOLDER.rglob('*.py'))) - sys.stdlib_module_names
    assert found == {'torch', 'mmengine', 'numpy', 'safetensors'}


def test_layouts__are_pure():
    """Names and tensors in, names and tensors out."""
    found = set().union(*map(imported, (FOLDER / 'layouts').glob('*.py')))
    assert found <= {'torch', 're', 'collections', 'typing'}
