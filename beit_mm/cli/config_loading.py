import ast
import sys
import traceback
from pathlib import Path

from mmengine.config import Config

from beit_mm.cli.config_options import merge_options
from beit_mm.contracts import MissingFileError, UserError

CONFIG_FILE = str(Path('mmengine', 'config', 'config.py'))


def load_config(path: str | Path, options: dict | None = None) -> Config:
    """Return the config at ``path`` with ``--cfg-options`` merged into it.

    Raises:
        UserError: The file, one of its bases or a module of ``custom_imports`` is missing, a file
            is not valid Python, or ``options`` do not fit the config. The message names the file.
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
    return config


def _describe_error(path: Path, files: list[Path], error: Exception) -> str | None:
    """Return where and what is wrong, or None if another module than a config has failed."""
    if isinstance(error, ImportError) and error.__cause__:  # of custom_imports
        missing = error.__cause__.__context__
        name = missing.name if isinstance(missing, ImportError) else None
        if str(error.__cause__) != f'Failed to import {name}':
            return None
        return (
            f'{path}: custom_imports has {name!r}, but no such module is found; name its '
            f'folder: PYTHONPATH=FOLDER:$PYTHONPATH python {sys.argv[0]} ...'
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
