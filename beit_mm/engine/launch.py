"""What the tools need around a Runner: a config that loads or says why, and a launch on CPUs."""

import ast
import os
from pathlib import Path

import torch
from mmengine.config import Config


class UserError(ValueError):
    """Something that the user can mend; the tools print its message without a traceback."""


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
        UserError: Several processes on CPUs, but the config doesn't say ``device_ids=None``.
    """
    if launcher == 'none' or torch.cuda.is_available():
        return
    if launcher == 'slurm':
        os.environ.setdefault('RANK', os.environ['SLURM_PROCID'])
        os.environ.setdefault('WORLD_SIZE', os.environ['SLURM_NTASKS'])
        os.environ.setdefault('LOCAL_RANK', os.environ.get('SLURM_LOCALID', '0'))
    wrapper = config.get('model_wrapper_cfg') or {}
    if wrapper.get('device_ids', 0) is not None:
        raise UserError(
            'Several processes on CPUs need model_wrapper_cfg=dict(type='
            "'MMDistributedDataParallel', device_ids=None) in the config; configs/_base_/runtime "
            'has it'
        )
    torch.distributed.init_process_group('gloo')
