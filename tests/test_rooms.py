"""The rules of docs/architecture.md that a file can break: who imports whom, and how long it is."""

import ast
import re
import sys
from pathlib import Path

import pytest

import beit_mm

ROOT = Path(beit_mm.__file__).parent
# From the ground up: a room imports itself and those before it.
ROOMS = (
    *('import_hooks', 'late_classes', 'eager_optimizers', 'torchvision_cpu', 'named_configs'),
    *('opencv_limit', 'registry', 'contracts', 'progress', 'checkpoints', 'safe_loading'),
    *('datasets', 'evaluation', 'visualization', 'models', 'preflight', 'engine', 'apis', 'cli'),
    'utils',
)
# Kinds of plugins: they meet in a config, and share layers.
KINDS = (
    'autoencoders',
    'backbones',
    'features',
    'heads',
    'losses',
    'necks',
    'quantizers',
    'tokenizers',
)
MOST_LINES, MOST_LINES_OF_A_FUNCTION, MOST_LINES_OF_THE_PACKAGE = 300, 60, 37_350
MOST_SNIFFING = 39  # getattr and hasattr, for objects of other libraries
FILES = sorted(ROOT.rglob('*.py'))
files = pytest.mark.parametrize('path', FILES, ids=lambda path: str(path.relative_to(ROOT)))


def imports_of(path: Path) -> list[str]:
    """Return the modules of the package that a file names, inside functions too."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}: imports are absolute'
            found += [f'{node.module}.{name.name}' for name in node.names]
    return [name.removeprefix('beit_mm.') for name in found if name.startswith('beit_mm.')]


def libraries_of(path: Path) -> set[str]:
    """Return the top-level packages that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name.split('.')[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module.split('.')[0])
    return found - sys.stdlib_module_names


def place_of(path: Path) -> tuple[str, ...]:
    return path.relative_to(ROOT).with_suffix('').parts


@files
def test_room__imports_only_what_stands_below_it(path):
    room = place_of(path)[0]
    if room == '__init__':
        return
    allowed = ROOMS[: ROOMS.index(room) + 1]
    assert [name for name in imports_of(path) if name.split('.')[0] not in allowed] == []


@pytest.mark.parametrize(
    ('room', 'allowed'),
    [
        ('contracts', {'torch', 'mmengine'}),
        ('checkpoints', {'torch', 'mmengine', 'numpy', 'safetensors', 'filelock'}),
        ('checkpoints/layouts', {'torch'}),
        ('models/layers', {'torch'}),
    ],
)
def test_room__needs_few_libraries(room, allowed):
    found = set().union(*map(libraries_of, (ROOT / room).rglob('*.py')))
    assert found - {'beit_mm'} <= allowed


@files
def test_kinds_of_plugins__do_not_import_each_other(path):
    place = place_of(path)
    if place[0] != 'models' or len(place) < 3:
        return
    inside = [name.split('.')[1] for name in imports_of(path) if name.startswith('models.')]
    if place[1] == 'layers':
        assert set(inside) <= {'layers'}
        others = [name for name in imports_of(path) if not name.startswith('models.layers')]
        assert all(name.startswith('contracts.') for name in others)
        assert {name.split('.')[0] for name in imports_of(path)} <= {'models', 'contracts'}
    else:
        assert set(inside) & set(KINDS) <= {place[1]}


@files
def test_file_and_functions__are_short(path):
    text = path.read_text()
    assert text.count('\n') <= MOST_LINES
    long = [
        node.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno + 1 > MOST_LINES_OF_A_FUNCTION
        and node.name != '__init__'
    ]
    assert long == []


def test_package__is_small_and_asks_contracts():
    texts = [path.read_text() for path in FILES]
    assert sum(text.count('\n') for text in texts) <= MOST_LINES_OF_THE_PACKAGE
    assert sum(len(re.findall(r'\b(?:getattr|hasattr)\(', text)) for text in texts) <= MOST_SNIFFING
