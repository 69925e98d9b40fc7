"""What the tools need around a Runner: a config that loads or says why, and a launch on CPUs."""

import ast
import atexit
import dis
import os
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import torch
from mmengine.config import Config

from beit_mm.cli.config_options import merge_options

# What torch reads <- what a launcher sets in each of its processes.
LAUNCHERS = dict(
    pytorch=dict(RANK='RANK', WORLD_SIZE='WORLD_SIZE'),
    slurm=dict(RANK='SLURM_PROCID', WORLD_SIZE='SLURM_NTASKS', LOCAL_RANK='SLURM_LOCALID'),
    mpi=dict(
        RANK='OMPI_COMM_WORLD_RANK',
        WORLD_SIZE='OMPI_COMM_WORLD_SIZE',
        LOCAL_RANK='OMPI_COMM_WORLD_LOCAL_RANK',
    ),
)
RAISE = dis.opmap['RAISE_VARARGS']
PACKAGE = str(Path(__file__).parents[1])
FROM_WORKER = re.compile(r'Caught \w+ in DataLoader worker process \d+\.\n')
FRAME = re.compile(r'^  File "(.+)", line \d+, in .+\n +(.*)\n', re.MULTILINE)
LAST_LINE = re.compile(r'^([\w.]+): (.*)\Z', re.MULTILINE | re.DOTALL)
CONFIG_FILE = str(Path('mmengine', 'config', 'config.py'))
STARTED_BY = dict(pytorch='tools/dist_train.sh', slurm='tools/slurm_train.sh', mpi='mpirun')


class UserError(ValueError):
    """Something that the user can mend; the tools print its message without a traceback."""


def run_tool(main: Callable[[], None]) -> None:
    """Call ``main``; an error that the user can mend ends the program with its message alone.

    Those are the errors of this package and each ValueError that it raises (the text says what to
    change), also those of a data loader's worker, a file that isn't there, and a name that no
    registry has. All others keep their traceback.
    """
    try:
        main()
        _leave_process_group(0)
    except SystemExit as stop:
        if isinstance(stop.code, int):
            _leave_process_group(stop.code)
        raise
    except Exception as error:
        if FROM_WORKER.match(str(error)):
            if message := _message_from_worker(str(error)):
                sys.exit(f'error: {message}')
            raise
        if not _is_for_the_user(error):
            raise
        message = error.args[0] if isinstance(error, KeyError) else error
        sys.exit(f'error: {message}')


def _leave_process_group(status: int) -> None:
    """End a process of several with ``status``, by all that a normal exit does in Python.

    A thread of the group may outlive it, and then ends the process with SIGABRT while the
    interpreter is taken down: a finished run would be reported as a failure.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return
    torch.distributed.destroy_process_group()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _is_for_the_user(error: Exception) -> bool:
    if isinstance(error, KeyError):
        return 'is not in the' in str(error) and 'registry' in str(error)
    if isinstance(error, AssertionError):  # how mmseg says that an ann_file isn't there
        return str(error).startswith('Failed to load `ann_file`')
    if isinstance(error, FileNotFoundError) or _is_ours(type(error).__module__):
        return True
    place = error.__traceback__
    while place.tb_next is not None:
        place = place.tb_next
    frame = place.tb_frame
    by_raise = frame.f_code.co_code[place.tb_lasti] == RAISE  # not inside a call of C code
    return isinstance(error, ValueError) and by_raise and _is_ours(frame.f_globals['__name__'])


def _message_from_worker(text: str) -> str | None:
    """The same choice where torch has left the worker's traceback as text alone."""
    *_, frame = FRAME.finditer(text)
    kind, message = LAST_LINE.search(text, frame.end()).groups()
    by_raise = frame[1].startswith(PACKAGE) and frame[2].startswith('raise ')
    return message.strip() if _is_ours(kind) or (kind == 'ValueError' and by_raise) else None


def _is_ours(module: str) -> bool:
    return module.split('.')[0] == 'beit_mm'


def load_config(path: str | Path, options: dict | None = None) -> Config:
    """The config at ``path`` with ``--cfg-options`` merged into it.

    Raises:
        UserError: The file, one of its bases or a module of ``custom_imports`` is missing, or a
            file is not valid Python; the message names it.
        ValueError: ``options`` don't fit the config.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f'There is no config file {path} (looked in {Path.cwd()})')
    files: list[Path] = []
    _compile_with_bases(path.resolve(), files, ())
    try:
        config = Config.fromfile(path)
    except Exception as error:
        if message := _message_of_config(path, files, error):
            raise UserError(message) from None
        raise
    if options:
        merge_options(config, options)
    return config


def _message_of_config(path: Path, files: list[Path], error: Exception) -> str | None:
    """Where and what is wrong, unless another module than a config has failed."""
    if isinstance(error, ImportError) and error.__cause__:  # of custom_imports
        missing = error.__cause__.__context__
        if str(error.__cause__) != f'Failed to import {getattr(missing, "name", None)}':
            return None
        return (
            f'{path}: custom_imports has {missing.name!r}, but no such module is found; name its '
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
    """A syntax error with the name of its file, which MMEngine leaves out; notes all ``files``."""
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
    for base, is_literal in bases:
        found = (path.parent / base).resolve()
        if is_literal and not found.is_file() and '{{' not in base:
            raise UserError(f'{path}: _base_ names {base!r}, but there is no {path.parent / base}')
        _compile_with_bases(found, files, (*children, path))


def _bases(tree: ast.Module) -> list[tuple[str, bool]]:
    """What ``_base_`` of a parsed config names, and whether it is written out as a literal."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], 'id', None) == '_base_':
            try:
                value, is_literal = ast.literal_eval(node.value), True
            except ValueError:  # computed: the names that stand in it
                value, is_literal = [getattr(n, 'value', None) for n in ast.walk(node.value)], False
            names = [value] if isinstance(value, str) else value
            return [(n, is_literal) for n in names if isinstance(n, str) and '::' not in n]
    return []


def start_distributed(config: Config, launcher: str) -> None:
    """Make the process group before MMEngine does, where there is no GPU.

    MMEngine calls ``torch.cuda.set_device`` whatever the backend, so that gloo can't be launched
    on a machine without CUDA; a group that exists already is taken as it is.

    Raises:
        UserError: Several processes on CPUs, but the config doesn't say ``device_ids=None``, or
            the launcher hasn't started this process.
    """
    if launcher == 'none' or torch.cuda.is_available():
        return
    wrapper = config.get('model_wrapper_cfg') or {}
    if wrapper.get('device_ids', 0) is not None:
        raise UserError(
            'Several processes on CPUs need model_wrapper_cfg=dict(type='
            "'MMDistributedDataParallel', device_ids=None) in the config; configs/_base_/runtime "
            'has it'
        )
    for name, source in LAUNCHERS[launcher].items():
        if source not in os.environ:
            raise UserError(
                f'--launcher {launcher}: {source} is not set; start this with '
                f'{STARTED_BY[launcher]}, or leave --launcher out for one process'
            )
        os.environ[name] = os.environ[source]
    if 'MASTER_ADDR' not in os.environ:
        here = os.environ.get('OMPI_COMM_WORLD_LOCAL_SIZE', os.environ['WORLD_SIZE'])
        if os.environ.get('SLURM_NNODES', '1') != '1' or here != os.environ['WORLD_SIZE']:
            raise UserError('MASTER_ADDR is not set; name the machine of the first process in it')
        os.environ['MASTER_ADDR'] = '127.0.0.1'
    os.environ.setdefault('MASTER_PORT', '29500')
    torch.distributed.init_process_group('gloo')
