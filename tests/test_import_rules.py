"""What importing a room brings with it. Each import happens in a fork of one process.

It has torch alone for the layers, and MMEngine and MMCV too for the rest: what these bring
(transformers, where it is installed) is not our doing.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import beit_mm

ROOT = Path(beit_mm.__file__).parent
PLUGINS = ('models', 'datasets', 'engine', 'evaluation', 'preflight')
ROOMS = ('contracts', 'checkpoints', 'visualization', *PLUGINS)
NEVER = ('mmpretrain', 'mmseg', 'torchvision', 'timm', 'transformers', 'scipy', 'safetensors')
LAYERS = sorted(
    f'beit_mm.models.layers.{path.stem}'
    for path in (ROOT / 'models/layers').glob('*.py')
    if path.stem != '__init__'
)

SCRIPT = """
import importlib, json, os, sys, types
import torch, torch.utils.checkpoint

def new_modules(name, bare_packages):
    read, write = os.pipe()
    if not os.fork():
        before = set(sys.modules)
        try:
            for package, path in bare_packages.items():  # their __init__ is not run
                sys.modules[package] = types.ModuleType(package)
                sys.modules[package].__path__ = [path]
            importlib.import_module(name)
            new = sorted(set(sys.modules) - before - set(bare_packages))
        except BaseException as error:
            new = [f'{type(error).__name__}: {error}']
        with os.fdopen(write, 'w') as pipe:
            json.dump(new, pipe)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        return json.load(pipe)

torch_alone, all_allowed, bare_packages, never = json.loads(sys.argv[1])
found = {name: new_modules(name, bare_packages.get(name, {})) for name in torch_alone}
import mmengine.runner, mmengine.evaluator, mmcv.transforms
early = sorted(set(never) & set(sys.modules))
found.update((name, new_modules(name, bare_packages.get(name, {}))) for name in all_allowed)
print(json.dumps([found, early]))
"""


@pytest.fixture(scope='module')
def imports() -> dict[str, list[str]]:
    """The modules that importing one adds."""
    inside = ('', '.models', '.models.layers')  # packages whose __init__ would import the rest
    bare = {f'beit_mm{name}': str(ROOT.joinpath(*name.split('.'))) for name in inside}
    question = (
        LAYERS,
        ['beit_mm', 'beit_mm.registry', *(f'beit_mm.{room}' for room in ROOMS)],
        {name: bare for name in (*LAYERS, 'beit_mm.registry')},
        NEVER,
    )
    done = subprocess.run(
        [sys.executable, '-c', SCRIPT, json.dumps(question)],
        capture_output=True,
        text=True,
        cwd=ROOT.parent,
    )
    assert done.returncode == 0, done.stderr
    found, early = json.loads(done.stdout)
    assert not set(early) & {'mmpretrain', 'mmseg', 'torchvision'}
    for name, new in found.items():
        assert name in new, f'{name}: {new}'
    return found


def of_package(modules, package):
    return [m for m in modules if m == package or m.startswith(f'{package}.')]


def test_package__imports_no_plugins_and_no_task_library(imports):
    for name in (*NEVER, *(f'beit_mm.{room}' for room in PLUGINS)):
        assert not of_package(imports['beit_mm'], name)


def test_registry__imports_nothing_of_ours(imports):
    assert of_package(imports['beit_mm.registry'], 'beit_mm') == ['beit_mm.registry']


@pytest.mark.parametrize('room', ROOMS)
def test_rooms__do_not_import_the_task_libraries(imports, room):
    new = imports[f'beit_mm.{room}']
    assert of_package(new, f'beit_mm.{room}')
    for name in NEVER:
        assert not of_package(new, name)


@pytest.mark.parametrize('layer', LAYERS)
def test_layers__import_torch_alone(imports, layer):
    new = imports[layer]
    outside = {name.split('.')[0] for name in new} - sys.stdlib_module_names
    assert outside == {'beit_mm'}  # torch is there before
    assert of_package(new, 'beit_mm') == of_package(new, 'beit_mm.models.layers')
