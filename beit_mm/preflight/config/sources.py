"""The files that a config is made of, and the variables that they set and read."""

import ast
import re
from contextlib import suppress
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmengine.config import Config

REFERENCE = re.compile(r'\{\{\s*_base_\.(\w+)')  # in the text of a config


class ConfigFile:
    """One Python file of a config.

    Attributes:
        bases: The files that it inherits from.
        sets: Names that it gives a value.
        reads: Names whose value it takes, its own or those of its bases.
    """

    def __init__(self, path: Path):
        self.path = path
        text = path.read_text(encoding='utf-8')
        tree = ast.parse(text)
        self.bases = [*filter(Path.is_file, _bases_of(path, tree))]
        nodes = [*ast.walk(tree)]
        names = [node for node in nodes if isinstance(node, ast.Name)]
        self.sets = {node.id for node in names if isinstance(node.ctx, ast.Store)}
        self.reads = {node.id for node in names if isinstance(node.ctx, ast.Load)}
        self.reads |= {
            node.attr
            for node in nodes
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == '_base_'
        }
        self.reads |= set(REFERENCE.findall(text))

    @cached_property
    def values(self) -> dict[str, Any]:
        """Return what the file and its bases say, without what was merged into it later."""
        return dict(Config.fromfile(self.path))

    def base_values(self, name: str) -> list:
        """Return the values that the bases give a name."""
        return [some[name] for some in self._values_of_bases if name in some]

    @cached_property
    def _values_of_bases(self) -> list[dict]:
        return [dict(Config.fromfile(base)) for base in self.bases]


def read_sources(config: Config) -> list[ConfigFile]:
    """Return the file of a config and all of its bases, each before its own bases.

    What is not a Python file has no variables, and is left out.
    """
    found: dict[Path, ConfigFile] = {}
    paths = [Path(config.filename)] if config.filename else []
    while paths:
        path = paths.pop(0).resolve()
        if path.suffix != '.py' or not path.is_file() or path in found:
            continue
        with suppress(SyntaxError, ValueError, OSError):
            found[path] = ConfigFile(path)
            paths += found[path].bases
    return [*found.values()]


def _bases_of(path: Path, tree: ast.Module) -> list[Path]:
    bases = []
    with suppress(Exception):  # MMEngine fails with it as well, and is reported then
        names = Config._get_base_files(str(path))
        bases = [Path(Config._get_cfg_path(name, str(path))[0]) for name in names]
    for node in tree.body:
        if isinstance(node, ast.With):  # read_base() of pure Python configs
            for step in node.body:
                if isinstance(step, ast.ImportFrom):
                    bases += _module_files(path, step)
    return bases


def _module_files(path: Path, step: ast.ImportFrom) -> list[Path]:
    """Return the file of ``from .module import *``."""
    if step.level:
        folder = path.parents[step.level - 1]
        return [folder.joinpath(*(step.module or '').split('.')).with_suffix('.py')]
    with suppress(Exception):  # whatever importing the package of the module raises
        return [Path(find_spec(step.module).origin)]
    return []
