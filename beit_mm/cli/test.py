"""Evaluate a checkpoint with the test data and metrics of its config (tools/test.py)."""

import argparse
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.runner import Runner
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor

from beit_mm.checkpoints import weights_of
from beit_mm.cli.arguments import choose_work_dir, config_parser, parse_with_launcher
from beit_mm.cli.config_loading import load_config
from beit_mm.cli.start_distributed import start_distributed
from beit_mm.contracts import MissingFileError, UserError
from beit_mm.contracts.runner_access import model_of
from beit_mm.engine.loops.resumable_loop import seed_validation
from beit_mm.models import MaskedImageModel

# Parts that may have their weights from a file of their own, beside the checkpoint.
FROM_ELSEWHERE = {'tokenizer', 'teacher', 'features'}


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = config_parser('Evaluate a checkpoint')
    parser.add_argument('checkpoint', help='path of the checkpoint')
    parser.add_argument('--work-dir', help='where the log goes (default: work_dirs/CONFIG_NAME)')
    parser.add_argument('--out', type=Path, help='write the metrics to this JSON file')
    return parse_with_launcher(parser, arguments)


def merge_args(config: Config, args: argparse.Namespace) -> Config:
    """Write what the command line says into ``config`` and return it."""
    if '://' not in args.checkpoint and not Path(args.checkpoint).is_file():
        raise MissingFileError(f'There is no checkpoint {args.checkpoint} (looked in {Path.cwd()})')
    if config.get('test_dataloader') is None:
        raise UserError(
            f'{args.config} has no test_dataloader; add one with test_evaluator and test_cfg'
        )
    config.launcher = args.launcher
    config.work_dir = choose_work_dir(config, args)
    config.load_from = args.checkpoint
    config.resume = False
    hooks = config.setdefault('default_hooks', {})
    report = hooks.get('load_report') or dict(type='beit_mm.LoadReportHook')
    hooks['load_report'] = dict(report, complete=True)
    return config


def drop_pretrained(config: Any, held: Collection[str], path: str = '') -> None:
    """Remove each ``Pretrained`` of a model's config whose weights the checkpoint holds.

    A tokenizer or feature extractor that the checkpoint doesn't hold keeps it.

    Args:
        config: A model's config or a part of it.
        held: Names of the tensors in the checkpoint.
        path: Start of the names of this part's tensors.
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


def to_json(value: Any) -> Any:
    """Return a metric as a number or a list of numbers of Python."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic | Tensor) else value


def main(arguments: list[str] | None = None) -> None:
    args = parse_args(arguments)
    config = merge_args(load_config(args.config, args.cfg_options), args)
    start_distributed(config, args.launcher)
    held = set(weights_of(CheckpointLoader.load_checkpoint(args.checkpoint, map_location='cpu')))
    drop_pretrained(config.model, held)
    runner = Runner.from_cfg(config)
    model = model_of(runner)
    has_tokenizer = any(name.startswith('tokenizer.') for name in held)
    if isinstance(model, MaskedImageModel) and not has_tokenizer:
        model.tokenizer.init_weights()  # a Runner does so in training only
    seed_validation(runner)  # masks are those of the validations in training
    metrics = {name: to_json(value) for name, value in runner.test().items()}
    if args.out and is_main_process():
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(metrics, indent=2) + '\n')
