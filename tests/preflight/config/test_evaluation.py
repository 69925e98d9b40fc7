"""What an evaluation would stop at, after the whole training, is told before it."""

import re
from pathlib import Path

import pytest

from beit_mm.cli.config_loading import load_config
from beit_mm.preflight.config.evaluation import check_evaluation

CONFIGS = Path(__file__).resolve().parents[3] / 'configs'
SEGMENT = 'segmentation/beit-micro-p8_beit_setr-pup_digit-scenes-500.py'
LEAVES = sorted(CONFIGS.glob('segmentation/*.py'))
SLIDE = dict(mode='slide', crop_size=(32, 32), stride=(16, 16))


def found(options: dict, name=SEGMENT) -> dict[str, str]:
    config = load_config(CONFIGS / name, options)
    return {f.place: f'{f.level}: {f.message}' for f in check_evaluation(config)}


@pytest.mark.parametrize('path', LEAVES, ids=lambda path: path.stem)
def test_shipped_configs__have_no_findings(path):
    assert not found({}, path)


@pytest.mark.parametrize(
    'options, key, message',
    [
        (
            {'val_evaluator.iou_metrics': ['mIOU']},
            'val_evaluator.iou_metrics',
            'error.*mIoU, mDice',
        ),
        ({'val_evaluator.iou_metrics': 'mIou'}, 'val_evaluator.iou_metrics', "error: 'mIou'; exp"),
        (
            {'val_evaluator.iou_metrics': ['mIOU'], 'train_cfg.val_begin': 10**6},
            'val_evaluator.iou_metrics',
            'warning',
        ),
        ({'model.test_cfg': dict(mode='slide')}, 'model.test_cfg.crop_size', 'error: None; mode='),
        ({'model.test_cfg': dict(mode='slide')}, 'model.test_cfg.stride', 'error: None; mode='),
        ({'model.test_cfg': dict(SLIDE, crop_size=32)}, 'model.test_cfg.crop_size', 'error: 32'),
        ({'model.test_cfg': dict(SLIDE, stride=(0, 8))}, 'model.test_cfg.stride', 'error'),
        ({'model.test_cfg': dict(SLIDE, stride=(8, 40))}, 'model.test_cfg.stride', 'warning.*gaps'),
        ({'model.test_cfg.mode': 'slid'}, 'model.test_cfg.mode', "error: 'slid'; expected 'whole'"),
        ({'model.test_cfg': None}, 'model.test_cfg.mode', 'error: None'),
        (
            {
                'model.test_cfg': dict(mode='slide'),
                **dict.fromkeys(['val_cfg', 'val_dataloader', 'val_evaluator']),
            },
            'model.test_cfg.stride',
            'warning',
        ),
    ],
)
def test_what_an_evaluation_stops_at(options, key, message):
    told = found(options)
    assert key in told and re.match(message, told[key]), told


@pytest.mark.parametrize(
    'options',
    [
        {'model.test_cfg': SLIDE},
        {'model.test_cfg': dict(SLIDE, stride=(32, 32))},
        {'val_evaluator.iou_metrics': 'mDice'},
        {'val_evaluator.iou_metrics': ['x'], 'val_evaluator.format_only': True},
    ],
)
def test_what_is_right(options):
    assert not found(options)
