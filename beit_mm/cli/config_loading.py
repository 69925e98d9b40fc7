import ast
import math
import sys
import traceback
from io import StringIO
from pathlib import Path

import yaml
from mmengine.config import Config
from mmengine.fileio import register_handler
from mmengine.fileio.handlers import YamlHandler

from beit_mm.cli.config_options import merge_options
from beit_mm.contracts import MissingFileError, UserError
from beit_mm.contracts.config_sizes import apply_sizes
from beit_mm.contracts.config_walk import DATALOADERS
from beit_mm.datasets import image_files  # noqa: F401  (restricts Pillow before any data set)
from beit_mm.preflight.config.keys import MMENGINE_HOOKS

MOST_VALUES = 100_000  # of a YAML config
CONFIG_FILE = str(Path('mmengine', 'config', 'config.py'))


class PlainLoader(yaml.SafeLoader):
    """Plain data, with the tuples that MMEngine writes."""


PlainLoader.add_constructor(
    'tag:yaml.org,2002:python/tuple',
    lambda loader, node: tuple(loader.construct_sequence(node, deep=True)),
)


@register_handler(['yaml', 'yml'])  # of Config.fromfile
class SafeYamlHandler(YamlHandler):
    """Reads YAML as data; MMEngine's would make any object and call any function it names."""

    def load_from_fileobj(self, file, **kwargs):
        text = file.read()
        count = _count_values(yaml.compose(text, Loader=PlainLoader), {})
        if count > MOST_VALUES:  # each alias is a copy where MMEngine merges configs
            raise yaml.YAMLError(f'its aliases make more than {MOST_VALUES} values of it')
        return super().load_from_fileobj(StringIO(text), Loader=PlainLoader)


def _count_values(node: yaml.Node | None, known: dict[int, float]) -> float:
    """Return how many values a YAML node has with its aliases written out."""
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) not in known:
        known[id(node)] = math.inf  # if it is inside of itself
        parts = [part for item in node.value for part in (item if type(item) is tuple else [item])]
        known[id(node)] = 1 + sum(_count_values(part, known) for part in parts)
    return known[id(node)]


def load_config(path: str | Path, options: dict | None = None) -> Config:
    """Return the config at ``path`` with ``--cfg-options`` merged into it.

    Raises:
        UserError: The file, one of its bases or a module of ``custom_imports`` is missing, a file
            is not valid Python, YAML or JSON, a YAML file names objects, or ``options`` do not fit
            the config. The message names the file.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f'There is no config file {path} (looked in {Path.cwd()})')
    files: list[Path] = []
    _compile_with_bases(path.resolve(), files, ())
    try:
        config = Config.fromfile(path)
    except Exception as error:
        if message := _describe_error(path, files, error):
            raise UserError(message) from None
        raise
    if options:
        merge_options(config, options)
    apply_sizes(config)
    _leave_out(config)
    return config


def _leave_out(config: Config) -> None:
    """Remove what MMEngine and PyTorch refuse although it is clear what is meant.

    A default hook of this package that is None, as MMEngine's own may be; and options of workers
    where a dataloader has none.
    """
    hooks = config.get('default_hooks')
    for name in [*hooks] if isinstance(hooks, dict) else ():
        if hooks[name] is None and name not in MMENGINE_HOOKS:
            del hooks[name]
    for name in DATALOADERS:
        loader = config.get(name)
        if isinstance(loader, dict) and not loader.get('num_workers'):
            for option in ('persistent_workers', 'prefetch_factor', 'timeout'):
                loader.pop(option, None)


def _describe_error(path: Path, files: list[Path], error: Exception) -> str | None:
    """Return where and what is wrong, or None if another module than a config has failed."""
    if isinstance(error, yaml.YAMLError):
        advice = ''
        if isinstance(error, yaml.constructor.ConstructorError):
            advice = '; YAML is read as plain data: write an object with tags as a Python config'
        return f'{path}, or a base of it: {" ".join(str(error).split())}{advice}'
    if isinstance(error, ImportError) and error.__cause__:  # of custom_imports
        missing = error.__cause__.__context__
        name = missing.name if isinstance(missing, ImportError) else None
        wanted = str(error.__cause__).removeprefix('Failed to import ')
        if not name or not f'{wanted}.'.startswith(f'{name}.'):
            return None
        return (
            f'{path}: custom_imports has {wanted!r}, but there is no module {name!r}; install its '
            f'package, or name its folder: PYTHONPATH=FOLDER:$PYTHONPATH python {sys.argv[0]} ...'
        )
    frames = traceback.extract_tb(error.__traceback__)
    places = [frame for frame in frames if Path(frame.filename) in files]
    by_mmengine = CONFIG_FILE in frames[-1].filename  # merging files, or a key that isn't there
    if path.suffix == '.py' and not (by_mmengine or places and frames[-1] is places[-1]):
        return None
    place = f'{places[-1].filename}, line {places[-1].lineno}' if places else str(path)
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    return f'{place}: {type(error).__name__}: {text}'


def _compile_with_bases(path: Path, files: list[Path], children: tuple[Path, ...]) -> None:
    """Compile a config and its bases and add them to ``files``.

    MMEngine leaves the name of the file out of a syntax error.

    Raises:
        UserError: A file is not valid Python, has itself as a base, or a base does not exist.
    """
    if path in children:
        raise UserError(f'{children[-1]}: _base_ names {path}, which has this file as a base')
    if path.suffix != '.py' or path in files or not path.is_file():
        return
    files.append(path)
    try:
        text = path.read_text(encoding='utf-8')
        compile(text, str(path), 'exec')  # finds more than the parser
        bases = _bases(ast.parse(text, str(path)))
    except SyntaxError as error:
        raise UserError(
            f'{error.filename}, line {error.lineno}: {error.msg}: {(error.text or "").strip()}'
        ) from None
    except ValueError as error:
        raise UserError(f'{path}: {error}') from None
    for base in bases:
        found = (path.parent / base).resolve()
        if not found.is_file() and '{{' not in base:
            raise UserError(f'{path}: _base_ names {base!r}, but there is no {path.parent / base}')
        _compile_with_bases(found, files, (*children, path))


def _bases(tree: ast.Module) -> list[str]:
    """Return the files that ``_base_`` of a parsed config names, evaluated as MMEngine does."""
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(target, ast.Name) and target.id == '_base_':
            try:
                value = eval(compile(ast.Expression(node.value), '_base_', 'eval'))
            except Exception:  # MMEngine fails with it as well, and is reported then
                return []
            names = value if isinstance(value, list | tuple) else [value]
            return [name for name in names if isinstance(name, str) and '::' not in name]
    return []
