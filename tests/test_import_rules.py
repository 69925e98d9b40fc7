"""What importing a room brings with it. Each import happens in a fork of one process.

It has torch, MMEngine and MMCV: what these bring (transformers, where it is installed) is not our
doing.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import beit_mm

pytestmark = pytest.mark.slow

ROOT = Path(beit_mm.__file__).parent
PLUGINS = ('models', 'datasets', 'engine', 'evaluation', 'preflight')
ROOMS = ('contracts', 'checkpoints', 'visualization', *PLUGINS)
NEVER = ('mmpretrain', 'mmseg', 'torchvision', 'timm', 'transformers', 'scipy', 'safetensors')
SCRIPT = """
import importlib, json, os, sys, types
import torch

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

names, bare_packages, never = json.loads(sys.argv[1])
import mmengine.runner, mmengine.evaluator, mmcv.transforms
early = sorted(set(never) & set(sys.modules))
found = {name: new_modules(name, bare_packages.get(name, {})) for name in names}
print(json.dumps([found, early]))
"""


@pytest.fixture(scope='module')
def imports() -> dict[str, list[str]]:
    """The modules that importing one adds."""
    bare = {'beit_mm': str(ROOT)}  # whose __init__ would import the rest
    question = (
        ['beit_mm', 'beit_mm.registry', *(f'beit_mm.{room}' for room in ROOMS)],
        {'beit_mm.registry': bare},
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
