"""Evaluate a checkpoint with the test data and metrics of its config (tools/test.py)."""

import argparse
import copy
from collections.abc import Collection
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.dist import is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.runner import Runner
from mmengine.runner.checkpoint import CheckpointLoader

from beit_mm.checkpoints import weights_of
from beit_mm.cli.arguments import (
    add_overwrite,
    choose_work_dir,
    config_parser,
    parse_with_launcher,
    refuse_existing,
)
from beit_mm.cli.config_loading import load_config
from beit_mm.cli.start_distributed import start_distributed
from beit_mm.cli.test_outputs import plan_outputs, table_of, write_metrics, write_predictions
from beit_mm.contracts import MissingFileError, UserError
from beit_mm.contracts.config_walk import leaf_dataset_configs
from beit_mm.contracts.runner_access import model_of
from beit_mm.engine.loops.resumable_loop import seed_validation
from beit_mm.engine.runners import QuietRunner
from beit_mm.evaluation import KeptPredictions, PerClassResults
from beit_mm.models import MaskedImageModel
from beit_mm.preflight.config.parts import preprocessor_in

# Parts that may have their weights from a file of their own, beside the checkpoint.
FROM_ELSEWHERE = {'tokenizer', 'teacher', 'features'}
# Test-time augmentation where a config has none: the mean over the image and its mirror image.
TTA_MODELS = dict(mmpretrain='mmpretrain.AverageClsScoreTTA', mmseg='mmseg.SegTTAModel')


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = config_parser('Evaluate a checkpoint')
    parser.add_argument('checkpoint', help='a checkpoint, or a work dir for its best or last one')
    parser.add_argument('--work-dir', help='where the log goes (default: work_dirs/CONFIG_NAME)')
    parser.add_argument(
        '--out',
        type=Path,
        action='append',
        default=[],
        metavar='FILE',
        help='metrics and results of each class (.json, .csv), or predictions as tools of '
        'mmpretrain read them (.pkl); may be given several times',
    )
    parser.add_argument(
        '--out-item',
        choices=['metrics', 'pred'],
        help='what all files get; predictions in .json and .csv are a line for each image',
    )
    parser.add_argument('--show-dir', help='draw each prediction into this folder')
    add_overwrite(parser)
    parser.add_argument(
        '--tta',
        action='store_true',
        help='average over views of each image, by tta_model and tta_pipeline of the config, or '
        'over the image and its mirror image where it has none',
    )
    return parse_with_launcher(parser, arguments)


def merge_args(config: Config, args: argparse.Namespace) -> Config:
    """Write what the command line says into ``config`` and return it."""
    if '://' not in args.checkpoint and not Path(args.checkpoint).exists():
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
    if args.show_dir:
        settings = preprocessor_in(config) or {}
        hooks['prediction_pictures'] = dict(
            type='beit_mm.PredictionPicturesHook',
            out_dir=args.show_dir,
            is_bgr=bool(settings.get('to_rgb') or settings.get('bgr_to_rgb')),
        )
    return config


def augment_test(config: Config) -> None:
    """Wrap the model and replace the pipelines of the test for test-time augmentation.

    Raises:
        UserError: The config has no ``tta_model``, and is neither one of mmpretrain nor of mmseg.
    """
    default = TTA_MODELS.get(config.get('default_scope'))
    model = config.get('tta_model') or (default and dict(type=default))
    if model is None:
        raise UserError(
            f'--tta: nothing says how to average predictions of {config.model.type}; set '
            'tta_model and tta_pipeline in the config'
        )
    for part in leaf_dataset_configs(config, ('test_dataloader',)):
        pipeline = part.config.get('pipeline') or []
        part.config['pipeline'] = copy.deepcopy(config.get('tta_pipeline')) or _mirrored(pipeline)
    config.model = ConfigDict(model, module=config.model)


def _mirrored(pipeline: list) -> list:
    """Return a pipeline that ends with two views, the image and its mirror image."""
    if not pipeline:
        raise UserError('--tta: test_dataloader has no pipeline; set tta_pipeline in the config')
    flips = [dict(type='RandomFlip', prob=prob, direction='horizontal') for prob in (0.0, 1.0)]
    return [*pipeline[:-1], dict(type='TestTimeAug', transforms=[flips, [pipeline[-1]]])]


def watch(runner: Runner, metric: BaseMetric) -> BaseMetric:
    """Add a metric to those of the test, and return it."""
    evaluator = runner.test_loop.evaluator
    metric.dataset_meta = evaluator.dataset_meta
    evaluator.metrics.append(metric)
    return metric


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


def evaluate(runner: Runner, outputs: dict[Path, str]) -> None:
    """Test the model of a runner, print the results of each class and write ``outputs``.

    Args:
        outputs: See :func:`plan_outputs`.
    """
    if vars(runner.test_loop).get('evaluator') is None:  # a loop of one's own
        if outputs:
            loop = type(runner.test_loop).__name__
            raise UserError(f'--out {[*outputs][0]}: test_cfg.type={loop} has no evaluator')
        runner.test()
        return
    ignored = [vars(metric).get('ignore_index') for metric in runner.test_loop.evaluator.metrics]
    ignored = next((value for value in ignored if value is not None), 255)
    per_class = watch(runner, PerClassResults(ignored))
    kept = watch(runner, KeptPredictions()) if 'pred' in outputs.values() else None
    seed_validation(runner)  # masks are those of the validations in training
    metrics = runner.test()
    if not is_main_process():
        return
    if per_class.rows:
        runner.logger.info(f'Results of each class (%):\n{table_of(per_class.rows)}')
    classes = (per_class.dataset_meta or {}).get('classes') or ()
    for path, item in outputs.items():
        if item == 'metrics':
            images = len(runner.test_dataloader.dataset)
            write_metrics(path, metrics, per_class.rows, images)
        else:
            write_predictions(path, kept.predictions, classes)


def main(arguments: list[str] | None = None) -> None:
    args = parse_args(arguments)
    outputs = plan_outputs(args.out, args.out_item, args.overwrite)
    refuse_existing('--show-dir', args.show_dir, args.overwrite)
    config = merge_args(load_config(args.config, args.cfg_options), args)
    start_distributed(config, args.launcher)
    load = CheckpointLoader.load_checkpoint
    held = set(weights_of(load(args.checkpoint, map_location='cpu', logger='silent')))
    drop_pretrained(config.model, held)
    if args.tta:
        augment_test(config)
    runner = QuietRunner.from_cfg(config)
    model = model_of(runner)
    has_tokenizer = any(name.startswith('tokenizer.') for name in held)
    if isinstance(model, MaskedImageModel) and not has_tokenizer:
        model.tokenizer.init_weights()  # a Runner does so in training only
    evaluate(runner, outputs)
