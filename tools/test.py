"""Evaluate a checkpoint with the test data and metrics of its config.

python tools/test.py CONFIG CHECKPOINT [--work-dir DIR] [--out METRICS.json]
bash tools/dist_test.sh CONFIG CHECKPOINT NUM_PROCESSES
"""

import argparse
import json
import os
import sys
from collections.abc import Collection
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]  # a checkout, or beit_mm/.mim where it is installed
sys.path.insert(0, str(ROOT.parents[1] if ROOT.name == '.mim' else ROOT))

import beit_mm  # noqa: F401, E402, I001  (before mmpretrain, see beit_mm/torchvision_cpu.py)
from mmengine.dist import is_main_process  # noqa: E402
from mmengine.model import is_model_wrapper  # noqa: E402
from mmengine.runner import Runner  # noqa: E402
from mmengine.runner.checkpoint import CheckpointLoader  # noqa: E402

from beit_mm.checkpoints import weights_of  # noqa: E402
from beit_mm.cli.config_options import ConfigOptions  # noqa: E402
from beit_mm.cli.config_loading import load_config  # noqa: E402
from beit_mm.cli.run_tool import run_tool  # noqa: E402
from beit_mm.cli.start_distributed import start_distributed  # noqa: E402
from beit_mm.contracts import UserError  # noqa: E402
from beit_mm.engine.loops.resumable_loop import seed_validation  # noqa: E402

# Parts that may have their weights from a file of their own, beside the checkpoint.
FROM_ELSEWHERE = {'tokenizer', 'teacher', 'features'}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Evaluate a checkpoint')
    parser.add_argument('config', help='path of the config file')
    parser.add_argument('checkpoint', help='path of the checkpoint')
    parser.add_argument('--work-dir', help='where the log goes (default: work_dirs/CONFIG_NAME)')
    parser.add_argument('--out', help='write the metrics to this JSON file')
    parser.add_argument(
        '--cfg-options', nargs='+', action=ConfigOptions, help='override the config'
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def drop_pretrained(config, held: Collection[str], path: str = '') -> None:
    """What the checkpoint holds needs no file that training started from.

    A tokenizer that it doesn't hold keeps its ``init_cfg``, as beside the weights of others, and
    so does a teacher, which is in no checkpoint. ``held`` are names of tensors, ``path`` is the
    start of those of ``config``.
    """
    parts = config.items() if isinstance(config, dict) else enumerate(config)
    for name, value in parts:
        if name != 'init_cfg' and isinstance(value, dict | list | tuple):
            drop_pretrained(value, held, f'{path}{name}.')
    if not isinstance(config, dict) or not config.get('init_cfg'):
        return
    if FROM_ELSEWHERE & set(path.split('.')) and not any(name.startswith(path) for name in held):
        return
    given = config['init_cfg']
    steps = given if isinstance(given, list | tuple) else [given]
    config['init_cfg'] = [step for step in steps if step.get('type') != 'Pretrained'] or None


def plain(value):
    """A metric for JSON: numbers of Python, in lists where it has several."""
    return value.tolist() if hasattr(value, 'tolist') else value


def main() -> None:
    args = parse_args()
    config = load_config(args.config, args.cfg_options)
    if '://' not in args.checkpoint and not Path(args.checkpoint).is_file():
        raise UserError(f'There is no checkpoint {args.checkpoint} (looked in {Path.cwd()})')
    config.launcher = args.launcher
    config.load_from = args.checkpoint
    config.resume = False
    default = str(Path('work_dirs') / Path(args.config).stem)
    config.work_dir = args.work_dir or config.get('work_dir') or default
    if config.get('test_dataloader') is None:
        raise UserError(
            f'{args.config} has no test_dataloader; add one with test_evaluator and test_cfg'
        )
    hooks = config.setdefault('default_hooks', {})
    report = hooks.get('load_report') or dict(type='beit_mm.LoadReportHook')
    hooks['load_report'] = dict(report, complete=True)
    start_distributed(config, args.launcher)
    held = set(weights_of(CheckpointLoader.load_checkpoint(args.checkpoint, map_location='cpu')))
    drop_pretrained(config.model, held)
    runner = Runner.from_cfg(config)
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    if hasattr(model, 'tokenizer') and not any(name.startswith('tokenizer.') for name in held):
        model.tokenizer.init_weights()  # a Runner does so in training only
    seed_validation(runner)  # masks are those of the validations in training
    metrics = runner.test()
    if args.out and is_main_process():
        out = Path(args.out)
        out.parent.mkdir(parents=True, exist_ok=True)
        metrics = {name: plain(value) for name, value in metrics.items()}
        out.write_text(json.dumps(metrics, indent=2) + '\n')


if __name__ == '__main__':
    run_tool(main)
