"""Train the model of a config (tools/train.py)."""

import argparse
import contextlib
import os
import signal
import sys
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from beit_mm.checkpoints.store import POINTER, retired
from beit_mm.cli.arguments import choose_work_dir, config_parser, parse_with_launcher, positive_int
from beit_mm.cli.config_loading import load_config
from beit_mm.cli.host_memory import keep_memory
from beit_mm.cli.loggers import LOGGERS, add_loggers
from beit_mm.cli.start_distributed import place_of_process, start_distributed
from beit_mm.cli.test import evaluate
from beit_mm.cli.test_outputs import plan_outputs
from beit_mm.cli.training_length import set_length
from beit_mm.contracts import Finding, UserError
from beit_mm.contracts.config_walk import class_name
from beit_mm.datasets.ignore_interrupt import STOP_SIGNALS
from beit_mm.eager_optimizers import spare_compiler
from beit_mm.engine.runners import QuietRunner
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
    for unit in ('iters', 'epochs'):
        parser.add_argument(
            f'--max-{unit}',
            type=positive_int,
            metavar='N',
            help=f'train for N {unit}; schedules, validation and checkpoints keep their proportion',
        )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by the total batch over auto_scale_lr.base_batch_size',
    )
    parser.add_argument(
        '--test-out',
        type=Path,
        action='append',
        default=[],
        metavar='FILE',
        help='test the trained model at the end, and write what tools/test.py --out FILE does',
    )
    parser.add_argument(
        '--log-to',
        nargs='+',
        choices=LOGGERS,
        default=[],
        metavar='LOGGER',
        help=f'also send the curves to {", ".join(LOGGERS)} (each needs its package)',
    )
    parser.add_argument(
        '--no-config-check', action='store_true', help='start whatever tools/check_config.py says'
    )
    return parse_with_launcher(parser, arguments)


def merge_args(config: Config, args: argparse.Namespace) -> Config:
    """Write what the command line says into ``config`` and return it."""
    set_length(config, max_iters=args.max_iters, max_epochs=args.max_epochs)
    if args.test_out and config.get('test_dataloader') is None:
        raise UserError(f'--test-out: {args.config} has no test_dataloader')
    config.launcher = args.launcher
    config.work_dir = choose_work_dir(config, args)
    add_loggers(config, args.log_to)
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
        use_autocast(config.get('optim_wrapper'))
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
    own = vars(runner)
    # Runner scales the rate itself, the strategy of a FlexibleRunner does it there.
    owner, name = (
        (own['strategy'], '_auto_scale_lr') if 'strategy' in own else (runner, 'auto_scale_lr')
    )
    scale = vars(owner).get(name) or {}
    if scale.get('enable') and scale.get('base_batch_size'):
        accumulated = runner.cfg.optim_wrapper.get('accumulative_counts', 1)
        base = scale['base_batch_size'] / accumulated
        vars(owner)[name] = dict(scale, base_batch_size=base)


def use_autocast(optim_wrapper: dict) -> None:
    """Replace an optimizer wrapper of MMEngine by one with mixed precision."""
    if not isinstance(optim_wrapper, dict):
        raise UserError(f'--amp: optim_wrapper is {optim_wrapper!r}; expected a dict')
    given = class_name(optim_wrapper) if 'type' in optim_wrapper else 'OptimWrapper'
    if given not in REPLACEABLE:
        raise UserError(f'--amp: optim_wrapper.type is {given}, which cannot be replaced')
    optim_wrapper.pop('loss_scale', None)  # of AmpOptimWrapper
    optim_wrapper['type'] = 'beit_mm.AutocastOptimWrapper'
    if torch.cuda.is_available():
        optim_wrapper.setdefault('dtype', 'float16')
    else:
        optim_wrapper['dtype'] = 'bfloat16'


def report(path: str, found: list[Finding], rank: int) -> None:
    """Print warnings to stderr in the first process, and raise a UserError of all errors."""
    errors = [str(finding) for finding in found if finding.level == 'error']
    for finding in found if rank == 0 else ():
        if finding.level != 'error':
            print(finding, file=sys.stderr)
    if errors:
        lines = ''.join(f'\n  {line}' for line in errors)
        raise UserError(f'{path} (--no-config-check goes on all the same):{lines}')


def leave_early(number: int, frame) -> None:
    """Answer a stop signal where no step is under way: nothing is lost, and --resume goes on."""
    told = f'{signal.Signals(number).name} outside of the training steps: exiting with status 75'
    with contextlib.suppress(OSError):  # the terminal may be gone
        os.write(2, f'\n{told}\n'.encode())
    sys.unraisablehook = leave_at_once
    raise SystemExit(75)


def leave_at_once(dropped) -> None:
    """Exit where Python drops the SystemExit of a stop signal: in ``__del__``, for example."""
    if not issubclass(dropped.exc_type, SystemExit):
        sys.__unraisablehook__(dropped)
        return
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(75)


def main(arguments: list[str] | None = None) -> None:
    args = parse_args(arguments)
    keep_memory()
    outputs = plan_outputs(args.test_out, None, overwrite=True)  # the same command may go on
    for number in STOP_SIGNALS:  # GracefulStopHook answers them while there is something to save
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, leave_early)
    config = merge_args(load_config(args.config, args.cfg_options), args)
    if not config.get('compile'):
        spare_compiler()
    rank, processes = place_of_process(args.launcher)
    if not args.no_config_check:
        report(args.config, check_config(config, processes, files=True), rank)
    start_distributed(config, args.launcher)
    runner_type = config.get('runner_type')
    runner = QuietRunner.from_cfg(config) if runner_type is None else RUNNERS.build(config)
    count_accumulated(runner)
    runner.train()
    if outputs:
        evaluate(runner, outputs)
