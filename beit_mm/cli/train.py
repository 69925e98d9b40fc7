"""Train the model of a config (tools/train.py)."""

import argparse
import os
import sys
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from beit_mm.checkpoints.store import POINTER, retired
from beit_mm.cli.arguments import choose_work_dir, config_parser, parse_with_launcher
from beit_mm.cli.config_loading import load_config
from beit_mm.cli.start_distributed import start_distributed
from beit_mm.contracts import Finding, UserError
from beit_mm.preflight.config import check_config

REPLACEABLE = ('OptimWrapper', 'AmpOptimWrapper', 'AutocastOptimWrapper')


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = config_parser('Train the model of a config')
    parser.add_argument('--work-dir', help='logs and checkpoints (default: work_dirs/CONFIG_NAME)')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from a checkpoint; without a path, from the last one in the work dir, '
        'or from the start if there is none',
    )
    parser.add_argument(
        '--amp',
        action='store_true',
        help='mixed precision: bfloat16 on CPUs, float16 on GPUs unless the config says dtype',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by the total batch over auto_scale_lr.base_batch_size',
    )
    parser.add_argument(
        '--no-config-check', action='store_true', help='start whatever tools/check_config.py says'
    )
    return parse_with_launcher(parser, arguments)


def merge_args(config: Config, args: argparse.Namespace) -> Config:
    """Write what the command line says into ``config`` and return it."""
    config.launcher = args.launcher
    config.work_dir = choose_work_dir(config, args)
    if args.resume == 'auto':
        # AtomicCheckpointHook chooses the checkpoint; without one, training starts from load_from.
        config.resume = has_checkpoint(Path(config.work_dir)) or not config.get('load_from')
        if config.resume:
            config.load_from = None
    elif args.resume:
        if not Path(args.resume).is_file():
            raise UserError(f'--resume: there is no checkpoint {args.resume}')
        config.resume = True
        config.load_from = args.resume
    if args.amp:
        use_autocast(config.optim_wrapper)
    if args.auto_scale_lr:
        if not (config.get('auto_scale_lr') or {}).get('base_batch_size'):
            raise UserError(
                '--auto-scale-lr: the config has no auto_scale_lr.base_batch_size, the total '
                'batch that its learning rate is made for'
            )
        config.auto_scale_lr.enable = True
    return config


def has_checkpoint(work_dir: Path) -> bool:
    """Return whether ``work_dir`` has a checkpoint of a run that no newer run has replaced."""
    if (work_dir / POINTER).is_file():
        return True
    return any(path.name not in retired(work_dir) for path in work_dir.glob('*.pth'))


def count_accumulated(runner: Runner) -> None:
    """Count accumulated batches in the scaling of the learning rate; MMEngine leaves them out.

    The config stays as it is: the work dir keeps it, and a run that starts from it would count them
    twice.
    """
    scale = getattr(runner, 'auto_scale_lr', None) or {}  # not all runners of MMEngine have it
    if scale.get('enable') and scale.get('base_batch_size'):
        accumulated = runner.cfg.optim_wrapper.get('accumulative_counts', 1)
        runner.auto_scale_lr = dict(scale, base_batch_size=scale['base_batch_size'] / accumulated)


def use_autocast(optim_wrapper: dict) -> None:
    """Replace an optimizer wrapper of MMEngine by one with mixed precision."""
    given = optim_wrapper.get('type', 'OptimWrapper')
    if given.split('.')[-1] not in REPLACEABLE:
        raise UserError(f'--amp: optim_wrapper.type is {given}, which cannot be replaced')
    optim_wrapper.pop('loss_scale', None)  # of AmpOptimWrapper
    optim_wrapper['type'] = 'beit_mm.AutocastOptimWrapper'
    if torch.cuda.is_available():
        optim_wrapper.setdefault('dtype', 'float16')
    else:
        optim_wrapper['dtype'] = 'bfloat16'


def report(path: str, found: list[Finding]) -> None:
    """Print warnings to stderr, and raise a UserError that lists all errors."""
    errors = [str(finding) for finding in found if finding.level == 'error']
    if os.environ.get('RANK', '0') == '0':
        for finding in found:
            if finding.level != 'error':
                print(finding, file=sys.stderr)
    if errors:
        lines = ''.join(f'\n  {line}' for line in errors)
        raise UserError(f'{path} (--no-config-check goes on all the same):{lines}')


def main(arguments: list[str] | None = None) -> None:
    args = parse_args(arguments)
    config = merge_args(load_config(args.config, args.cfg_options), args)
    if not args.no_config_check:
        report(args.config, check_config(config, int(os.environ.get('WORLD_SIZE', 1))))
    start_distributed(config, args.launcher)
    runner_type = config.get('runner_type')
    runner = Runner.from_cfg(config) if runner_type is None else RUNNERS.build(config)
    count_accumulated(runner)
    runner.train()
