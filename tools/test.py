"""Evaluate a checkpoint with the test data and metrics of its config.

python tools/test.py CONFIG CHECKPOINT [--work-dir DIR] [--out METRICS.json]
bash tools/dist_test.sh CONFIG CHECKPOINT NUM_PROCESSES
"""

import argparse
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # an uninstalled checkout

import beit_mm  # noqa: F401, E402, I001  (before mmpretrain, see beit_mm/torchvision_cpu.py)
from mmengine.config import DictAction  # noqa: E402
from mmengine.dist import is_main_process  # noqa: E402
from mmengine.runner import Runner  # noqa: E402

from beit_mm.engine.launch import UserError, load_config, start_distributed  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Evaluate a checkpoint')
    parser.add_argument('config', help='path of the config file')
    parser.add_argument('checkpoint', help='path of the checkpoint')
    parser.add_argument('--work-dir', help='where the log goes (default: work_dirs/CONFIG_NAME)')
    parser.add_argument('--out', help='write the metrics to this JSON file')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='override the config')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def drop_pretrained(config) -> None:
    """The checkpoint has every weight, so the files that training started from aren't needed."""
    if isinstance(config, dict):
        if (config.get('init_cfg') or {}).get('type') == 'Pretrained':
            config['init_cfg'] = None
        for value in config.values():
            drop_pretrained(value)


def main() -> None:
    args = parse_args()
    config = load_config(args.config, args.cfg_options)
    if '://' not in args.checkpoint and not Path(args.checkpoint).is_file():
        raise UserError(f'There is no checkpoint {args.checkpoint} (looked in {Path.cwd()})')
    config.launcher = args.launcher
    config.load_from = args.checkpoint
    config.resume = False
    config.work_dir = args.work_dir or config.get(
        'work_dir', str(Path('work_dirs') / Path(args.config).stem)
    )
    drop_pretrained(config.model)
    start_distributed(config, args.launcher)
    metrics = Runner.from_cfg(config).test()
    if args.out and is_main_process():
        out = Path(args.out)
        out.parent.mkdir(parents=True, exist_ok=True)
        plain = {name: float(value) for name, value in metrics.items()}
        out.write_text(json.dumps(plain, indent=2) + '\n')


if __name__ == '__main__':
    try:
        main()
    except UserError as error:
        sys.exit(f'error: {error}')
