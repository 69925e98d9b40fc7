"""A data set that names more classes than the head has is told by key before it is built."""

from pathlib import Path

import pytest
from mmengine.config import Config

from beit_mm.cli.config_loading import load_config
from beit_mm.preflight.config.class_counts import check_class_counts

CONFIGS = Path(__file__).resolve().parents[3] / 'configs'
CLASSIFY = 'classification/beit-micro-p8_beit_ft_folder-64.py'
SEGMENT = 'segmentation/beit-micro-p8_beit_setr-naive_folder-64.py'
ADE = 'segmentation/beit-base-p16_beit-300e_upernet_8xb2-amp-160k_ade20k-512x512.py'
LEAVES = sorted(path for path in CONFIGS.glob('*/*.py') if path.parent.name != '_base_')


def found(name: str, options: dict) -> dict[str, str]:
    config = load_config(CONFIGS / name, options)
    return {f.place: f'{f.level}: {f.message}' for f in check_class_counts(config)}


@pytest.mark.parametrize('path', LEAVES, ids=lambda path: path.stem)
def test_shipped_configs__name_no_more(path):
    assert not [*check_class_counts(load_config(path))]


def test_nothing__in_a_config_of_nothing():
    assert not [*check_class_counts(Config({}))]


@pytest.mark.parametrize(
    'name, options, key',
    [
        (
            SEGMENT,
            {
                'train_dataloader.dataset.classes': ('a', 'b', 'c'),
                'model.decode_head.num_classes': 2,
            },
            'train_dataloader.dataset.classes',
        ),
        (
            ADE,
            {'val_dataloader.dataset.metainfo': dict(classes=[*map(str, range(151))])},
            'val_dataloader.dataset.metainfo.classes',
        ),
        (ADE, {'model.decode_head.num_classes': 149}, 'train_dataloader.dataset.type'),
        (
            CLASSIFY,
            {'train_dataloader.dataset.classes': [*'abcdefghijk'], 'model.head.num_classes': 10},
            'train_dataloader.dataset.classes',
        ),
    ],
)
def test_more_classes__than_the_head_has(name, options, key):
    assert found(name, options)[key].startswith('error: ')


@pytest.mark.parametrize('classes', [['a', 'b'], ['a'], 'classes.txt'])
def test_as_many__fewer_or_a_file(classes):
    options = {'train_dataloader.dataset.metainfo': dict(classes=classes)}
    assert not found(ADE, options)


def test_without_the_guard__it_is_a_warning():
    options = {'model.decode_head.num_classes': 149, 'default_hooks.dataset_check': None}
    assert found(ADE, options)['train_dataloader.dataset.type'].startswith('warning: 150 classes')


HOOK = dict(type='beit_mm.DatasetCheckHook')


@pytest.mark.parametrize(
    'place', [{'default_hooks.other': HOOK}, {'custom_hooks': [dict(type='IterTimerHook'), HOOK]}]
)
def test_the_guard__under_any_key(place):
    options = {'model.decode_head.num_classes': 149, 'default_hooks.dataset_check': None, **place}
    assert found(ADE, options)['train_dataloader.dataset.type'].startswith('error: 150 classes')


def test_two_keys__the_shorter_one_may_be_meant():
    three, two = ['a', 'b', 'c'], dict(classes=['a', 'b'])
    options = {'train_dataloader.dataset': dict(classes=three, metainfo=two)}
    assert not found(SEGMENT, options | {'model.decode_head.num_classes': 2})
    empty = {'train_dataloader.dataset': dict(classes=[], metainfo=dict(classes=three))}
    (place,) = found(SEGMENT, empty | {'model.decode_head.num_classes': 2})
    assert place == 'train_dataloader.dataset.metainfo.classes'


@pytest.mark.parametrize('head', ['CSRAClsHead', 'VigClsHead'])
def test_heads__that_the_guard_cannot_read(head):
    options = {'train_dataloader.dataset.classes': [*'abcdefghijk'], 'model.head.type': head}
    assert not found(CLASSIFY, options)
