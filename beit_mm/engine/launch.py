"""What the tools need around a Runner: a config that loads or says why, and a launch on CPUs."""

import ast
import dis
import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from mmengine.config import Config

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
STARTED_BY = dict(pytorch='tools/dist_train.sh', slurm='tools/slurm_train.sh', mpi='mpirun')


class UserError(ValueError):
    """Something that the user can mend; the tools print its message without a traceback."""


def run_tool(main: Callable[[], None]) -> None:
    """Call ``main``; an error that the user can mend ends the program with its message alone.

    Those are the errors of this package and each ValueError that it raises (the text says what to
    change), a file that isn't there, and a name that no registry has. All others keep their
    traceback.
    """
    try:
        main()
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            # Else its threads may end the process with SIGABRT while the interpreter shuts down.
            torch.distributed.destroy_process_group()
    except Exception as error:
        if not _is_for_the_user(error):
            raise
        message = error.args[0] if isinstance(error, KeyError) else error
        sys.exit(f'error: {message}')


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


def _is_ours(module: str) -> bool:
    return module.split('.')[0] == 'beit_mm'


def load_config(path: str | Path, options: dict | None = None) -> Config:
    """The config at ``path`` with ``--cfg-options`` merged into it.

    Raises:
        UserError: The file is missing or is not valid Python; the message names it.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f'There is no config file {path} (looked in {Path.cwd()})')
    _compile_with_bases(path, seen=set())
    config = Config.fromfile(path)
    if options:
        config.merge_from_dict(options)
    return config


def _compile_with_bases(path: Path, seen: set[Path]) -> None:
    """A syntax error with the name of its file, which MMEngine leaves out."""
    path = path.resolve()
    if path.suffix != '.py' or path in seen or not path.is_file():
        return
    seen.add(path)
    try:
        bases = _bases(ast.parse(path.read_text(encoding='utf-8'), str(path)))
    except SyntaxError as error:
        raise UserError(
            f'{error.filename}, line {error.lineno}: {error.msg}: {(error.text or "").strip()}'
        ) from None
    for base in bases:
        _compile_with_bases(path.parent / base, seen)


def _bases(tree: ast.Module) -> list[str]:
    """The literal ``_base_`` of a parsed config."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], 'id', None) == '_base_':
            try:
                value = ast.literal_eval(node.value)
            except ValueError:
                return []
            names = [value] if isinstance(value, str) else value
            return [name for name in names if '::' not in name]
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
