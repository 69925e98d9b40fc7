"""Train whatever a config describes: a tokenizer, BEiT, a classifier or a segmentor.

python tools/train.py CONFIG [--work-dir DIR] [--resume [CHECKPOINT]] [--amp] [--auto-scale-lr]
                             [--cfg-options KEY=VALUE ...]
bash tools/dist_train.sh CONFIG NUM_PROCESSES
"""

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]  # a checkout, or beit_mm/.mim where it is installed
sys.path.insert(0, str(ROOT.parents[1] if ROOT.name == '.mim' else ROOT))

import beit_mm  # noqa: F401, E402, I001  (before mmpretrain, see beit_mm/torchvision_cpu.py)
import torch  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.registry import RUNNERS  # noqa: E402
from mmengine.runner import Runner  # noqa: E402

from beit_mm.preflight.config import Finding, check_config  # noqa: E402
from beit_mm.cli.config_options import ConfigOptions  # noqa: E402
from beit_mm.cli.config_loading import load_config  # noqa: E402
from beit_mm.cli.run_tool import run_tool  # noqa: E402
from beit_mm.cli.start_distributed import start_distributed  # noqa: E402
from beit_mm.contracts import UserError  # noqa: E402
from beit_mm.checkpoints.store import POINTER, retired  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Train the model of a config')
    parser.add_argument('config', help='path of the config file')
    parser.add_argument('--work-dir', help='logs and checkpoints (default: work_dirs/CONFIG_NAME)')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
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
        '--cfg-options',
        nargs='+',
        action=ConfigOptions,
        help='override the config, for example optim_wrapper.optimizer.lr=1e-4',
    )
    parser.add_argument(
        '--no-config-check', action='store_true', help='start whatever tools/check_config.py says'
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def merge_args(config: Config, args: argparse.Namespace) -> Config:
    """The command line's say: work dir, resume, precision, learning rate, launcher."""
    config.launcher = args.launcher
    if args.work_dir:
        config.work_dir = args.work_dir
    elif config.get('work_dir') is None:
        config.work_dir = str(Path('work_dirs') / Path(args.config).stem)
    if args.resume == 'auto':
        work_dir = Path(config.work_dir)
        found = (work_dir / POINTER).is_file() or any(
            path.name not in retired(work_dir) for path in work_dir.glob('*.pth')
        )
        config.resume = found or not config.get('load_from')  # AtomicCheckpointHook says what it is
        if config.resume:  # else a new run starts from the config's load_from
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


def count_accumulated(runner) -> None:
    """MMEngine's scaling of the learning rate leaves accumulated batches out of the total.

    Not in the config, which the work dir keeps: started from there, it would count them twice.
    """
    scale = getattr(runner, 'auto_scale_lr', None) or {}
    if scale.get('enable') and scale.get('base_batch_size'):
        accumulated = runner.cfg.optim_wrapper.get('accumulative_counts', 1)
        runner.auto_scale_lr = dict(scale, base_batch_size=scale['base_batch_size'] / accumulated)


def use_autocast(optim_wrapper: dict) -> None:
    """Mixed precision in the place of an optimizer wrapper of MMEngine."""
    given = optim_wrapper.get('type', 'OptimWrapper')
    if given.split('.')[-1] not in ('OptimWrapper', 'AmpOptimWrapper', 'AutocastOptimWrapper'):
        raise UserError(f'--amp: optim_wrapper.type is {given}, which cannot be replaced')
    optim_wrapper.pop('loss_scale', None)  # of AmpOptimWrapper
    optim_wrapper['type'] = 'beit_mm.AutocastOptimWrapper'
    if torch.cuda.is_available():
        optim_wrapper.setdefault('dtype', 'float16')
    else:
        optim_wrapper['dtype'] = 'bfloat16'


def report(path: str, found: list[Finding]) -> None:
    """Warnings to the terminal, errors as one message that ends the program."""
    errors = [str(finding) for finding in found if finding.level == 'error']
    if os.environ.get('RANK', '0') == '0':
        for finding in found[len(errors) :]:
            print(finding, file=sys.stderr)
    if errors:
        lines = ''.join(f'\n  {line}' for line in errors)
        raise UserError(f'{path} (--no-config-check goes on all the same):{lines}')


def main() -> None:
    args = parse_args()
    config = merge_args(load_config(args.config, args.cfg_options), args)
    if not args.no_config_check:
        report(args.config, check_config(config, int(os.environ.get('WORLD_SIZE', 1))))
    start_distributed(config, args.launcher)
    runner_type = config.get('runner_type')
    runner = Runner.from_cfg(config) if runner_type is None else RUNNERS.build(config)
    count_accumulated(runner)
    runner.train()


if __name__ == '__main__':
    run_tool(main)
