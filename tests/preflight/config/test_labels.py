"""Heads, losses, metrics and data sets that disagree are told by key, and agreeing ones are not."""

from pathlib import Path

import pytest
from mmengine.config import Config

from beit_mm.cli.config_loading import load_config
from beit_mm.preflight.config.labels import check_labels
from beit_mm.preflight.config.pipelines import check_pipelines

CONFIGS = Path(__file__).resolve().parents[3] / 'configs'
CLASSIFY = 'classification/beit-micro-p8_beit_ft_digit-scenes-500.py'
SEGMENT = 'segmentation/beit-micro-p8_beit_setr-pup_digit-scenes-500.py'
ADE = 'segmentation/beit-base-p16_beit-300e_upernet_8xb2-amp-160k_ade20k-512x512.py'
LEAVES = sorted(path for path in CONFIGS.glob('*/*.py') if path.parent.name != '_base_')


def found(name: str, options: dict, world_size: int = 1) -> dict[str, str]:
    config = load_config(CONFIGS / name, options)
    every = [*check_labels(config, world_size), *check_pipelines(config)]
    return {f.place: f'{f.level}: {f.message}' for f in every}


@pytest.mark.parametrize('path', LEAVES, ids=lambda path: path.stem)
def test_shipped_configs__agree(path):
    assert not [*check_labels(load_config(path), 8)]


def test_one_score_for_two_classes__has_one_weight():
    options = {'model.decode_head.num_classes': 2, 'model.decode_head.out_channels': 1}
    options['model.decode_head.loss_decode.class_weight'] = [3.0]
    assert not [key for key in found(SEGMENT, options) if key.endswith('class_weight')]


def test_nothing__in_a_config_of_nothing():
    assert not [*check_labels(Config({}))]


@pytest.mark.parametrize(
    'name, options, key, message',
    [
        (CLASSIFY, {'val_evaluator.topk': [1, 15]}, 'val_evaluator.topk', 'error.*num_classes=10'),
        (CLASSIFY, {'model.head.topk': 11, 'model.head.cal_acc': True}, 'model.head.topk', 'error'),
        (
            CLASSIFY,
            {'model.head.loss.class_weight': [1.0] * 9},
            'model.head.loss.class_weight',
            'error: has 9 values, but model.head.num_classes=10',
        ),
        (
            SEGMENT,
            {'model.decode_head.loss_decode.class_weight': [1.0, 2.0]},
            'model.decode_head.loss_decode.class_weight',
            'error: has 2 values',
        ),
        (
            ADE,
            {'model.auxiliary_head.num_classes': 21},
            'model.auxiliary_head.num_classes',
            'warning: 21, but model.decode_head.num_classes=150',
        ),
        (
            ADE,
            {'model.auxiliary_head.ignore_index': 0},
            'model.auxiliary_head.ignore_index',
            'warning: 0, but',
        ),
        (
            ADE,
            {'model.decode_head.num_classes': 1},
            'model.decode_head.loss_decode',
            'warning: a softmax over model.decode_head.num_classes=1 is always 1',
        ),
        (
            CLASSIFY,
            {'model.head.num_classes': 1, 'model.head.loss': dict(type='CrossEntropyLoss')},
            'model.head.loss',
            'warning: a softmax over model.head.num_classes=1',
        ),
        (
            CLASSIFY,
            {'data_preprocessor.num_classes': 9},
            'data_preprocessor.num_classes',
            'warning: 9, but model.head.num_classes=10',
        ),
        (
            CLASSIFY,
            {
                'data_preprocessor.num_classes': 9,
                'model.train_cfg': dict(augments=dict(type='Mixup', alpha=0.8)),
            },
            'data_preprocessor.num_classes',
            'error',
        ),
        (
            ADE,
            {'model.data_preprocessor.seg_pad_val': 0},
            'model.data_preprocessor.seg_pad_val',
            'warning: 0',
        ),
        (
            ADE,
            {'model.decode_head.ignore_index': 0},
            'model.data_preprocessor.seg_pad_val',
            'warning: 255, but model.decode_head.ignore_index=0',
        ),
        (
            ADE,
            {
                'model.decode_head.ignore_index': 0,
                'train_dataloader.dataset.pipeline': [
                    dict(type='LoadAnnotations', reduce_zero_label=True)
                ],
            },
            'train_dataloader.dataset.reduce_zero_label',
            'warning: 255, but .*: the pixels of value 0, which it makes 255',
        ),
        (
            ADE,
            {'model.decode_head.ignore_index': 0},
            'val_evaluator.ignore_index',
            'warning: 255, but model.decode_head.ignore_index=0: it judges',
        ),
        (ADE, {'test_evaluator.ignore_index': 0}, 'test_evaluator.ignore_index', 'warning: 0, but'),
        (
            ADE,
            {'model.decode_head.loss_decode': dict(type='DiceLoss', ignore_index=0)},
            'model.decode_head.loss_decode.ignore_index',
            'warning: 0, but model.decode_head.ignore_index=255: the loss takes its own',
        ),
        (
            ADE,
            {'train_dataloader.dataset.pipeline': [dict(type='RandomRotate', seg_pad_val=0)]},
            'train_dataloader.dataset.pipeline.0.seg_pad_val',
            'warning: 0, but .*what is padded',
        ),
        (
            ADE,
            {'train_dataloader.dataset.pipeline': [dict(type='Pad', pad_val=dict(seg=0))]},
            'train_dataloader.dataset.pipeline.0.pad_val.seg',
            'warning: 0, but',
        ),
        (
            ADE,
            {'model.decode_head.ignore_index': 0},
            'train_dataloader.dataset.pipeline.1.ignore_index',
            'warning: 255, but',
        ),
        *(
            (
                CLASSIFY,
                {'model.head.loss': dict(type=kind, num_classes=9)},
                'model.head.loss.num_classes',
                'error: 9, but model.head.num_classes=10; set them equal',
            )
            for kind in ('LabelSmoothLoss', 'mmpretrain.SeesawLoss')
        ),
        (
            ADE,
            {'val_dataloader.dataset.reduce_zero_label': False,
             'train_dataloader.dataset.reduce_zero_label': True,
             'val_dataloader.dataset.pipeline.2.reduce_zero_label': False},
            'val_dataloader.dataset.reduce_zero_label',
            'warning: False, but train_dataloader.dataset.reduce_zero_label=True',
        ),
        (
            SEGMENT,
            {'train_dataloader.dataset.reduce_zero_label': True},
            'train_dataloader.dataset.reduce_zero_label',
            "warning: True drops value 0, but class 0 is 'background'",
        ),
        (
            CLASSIFY,
            {'val_dataloader.dataset.with_label': False},
            'val_dataloader.dataset',
            'error: has no labels, which val_evaluator needs',
        ),
        (
            CLASSIFY,
            {'val_dataloader.dataset.pipeline.0.color_type': 'grayscale'},
            'val_dataloader.dataset.pipeline.0',
            "warning: loads by .*grayscale.*the model sees other images",
        ),
        (
            CLASSIFY,
            {'val_dataloader.dataset.pipeline.0.type': 'beit_mm.LoadMultiBandImage'},
            'val_dataloader.dataset.pipeline.0',
            'warning: loads by',
        ),
        (
            CLASSIFY,
            {
                'train_dataloader.dataset.pipeline': [dict(type='Normalize', to_rgb=True)],
                'val_dataloader.dataset.pipeline': [dict(type='Normalize', to_rgb=False)],
            },
            'val_dataloader.dataset.pipeline.0',
            "warning: normalizes by {'to_rgb': False",
        ),
        (ADE, {'val_dataloader.batch_size': 2}, 'val_dataloader.batch_size', 'warning: 2, but'),
        (ADE, {'train_dataloader.batch_size': 1}, 'train_dataloader.batch_size', 'error: 1, but'),
    ],
)  # fmt: skip
def test_what_disagrees__is_told(name, options, key, message):
    import re

    told = found(name, options)
    assert key in told and re.match(message, told[key]), told


@pytest.mark.parametrize(
    'options',
    [
        {
            'model.decode_head.type': 'SideAdapterCLIPHead',  # a weight for a mask of no class
            'model.decode_head.loss_decode.class_weight': [1.0] * 151,
        },
        {'model.auxiliary_head.type': 'STDCHead', 'model.auxiliary_head.num_classes': 2},  # edges
        {'model.decode_head.num_classes': None, 'model.decode_head.ignore_index': 0},  # of depths
    ],
)
def test_heads_that_count_otherwise__are_not(options):
    options['model.auxiliary_head.ignore_index'] = options.get(
        'model.decode_head.ignore_index', 255
    )
    assert not found(ADE, options)


def test_one_class__of_its_own_probability_is_not():
    loss = dict(type='CrossEntropyLoss', use_sigmoid=True)
    options = {'model.decode_head.num_classes': 1, 'model.decode_head.loss_decode': loss}
    assert 'model.decode_head.loss_decode' not in found(ADE, options)
