"""Arguments that several tools share."""

import os
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path

import torch
from mmengine.config import Config

from beit_mm.checkpoints.store import refuse_link
from beit_mm.cli.config_options import ConfigOptions
from beit_mm.contracts import UserError


def config_parser(description: str) -> ArgumentParser:
    """Return a parser of a config file and ``--cfg-options``."""
    parser = ArgumentParser(description=description)
    parser.add_argument('config', help='path of the config file')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=ConfigOptions,
        metavar='KEY=VALUE',
        help='override the config, for example optim_wrapper.optimizer.lr=1e-4',
    )
    return parser


def parse_with_launcher(parser: ArgumentParser, arguments: list[str] | None) -> Namespace:
    """Parse ``arguments`` and those of a launcher of several processes.

    MMEngine reads the process's number on its machine from the variable LOCAL_RANK.
    """
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_args(arguments)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def choose_work_dir(config: Config, args: Namespace) -> str:
    """Return ``--work-dir``, else the config's ``work_dir``, else work_dirs/CONFIG_NAME.

    Raises:
        LinkError: The copy of the config in it would be written through a link.
    """
    default = str(Path('work_dirs') / Path(args.config).stem)
    work_dir = str(args.work_dir or config.get('work_dir') or default)
    refuse_link(Path(work_dir) / Path(args.config).name)  # where MMEngine writes the config
    return work_dir


def add_device(parser: ArgumentParser) -> None:
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')


def add_overwrite(parser: ArgumentParser) -> None:
    parser.add_argument('--overwrite', action='store_true', help='replace what is there already')


def refuse_existing(option: str, path: str | Path | None, overwrite: bool) -> None:
    """Raise a UserError if ``option`` names a file, or a folder with pictures, that is there."""
    if path is None or overwrite or not os.path.lexists(path):
        return
    if not os.path.isdir(path) or any(Path(path).glob('*.png')):
        raise UserError(f'{path} exists already; name another {option}, or say --overwrite')


def positive_int(text: str) -> int:
    """Return the integer in ``text``, for argparse; it is at least 1."""
    if int(text) < 1:
        raise ArgumentTypeError(f'{text}: expected at least 1')
    return int(text)


def natural(text: str) -> int:
    """Return the integer in ``text``, for argparse; it is at least 0."""
    if int(text) < 0:
        raise ArgumentTypeError(f'{text}: expected 0 or more')
    return int(text)


def positive_float(text: str) -> float:
    """Return the number in ``text``, for argparse; it is above 0."""
    if not float(text) > 0:
        raise ArgumentTypeError(f'{text}: expected a number above 0')
    return float(text)
