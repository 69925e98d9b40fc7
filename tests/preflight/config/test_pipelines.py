"""Pipelines that load, convert or move images otherwise than their masks, or than each other."""

from pathlib import Path

import pytest
from mmengine.config import Config

from beit_mm.cli.config_loading import load_config
from beit_mm.preflight.config.pipelines import check_pipelines

CONFIGS = Path(__file__).resolve().parents[3] / 'configs'
LEAVES = sorted(path for path in CONFIGS.glob('*/*.py') if path.parent.name != '_base_')
LOAD, MASK = dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')


def found(train: list, val: list | None = None) -> list[str]:
    sets = dict(train_dataloader=dict(dataset=dict(type='A', pipeline=train)))
    if val is not None:
        sets['val_dataloader'] = dict(dataset=dict(type='A', pipeline=val))
    return [str(finding) for finding in check_pipelines(Config(sets))]


@pytest.mark.parametrize('path', LEAVES, ids=lambda path: path.stem)
def test_shipped_configs__move_masks_with_images(path):
    assert not [*check_pipelines(load_config(path))]


@pytest.mark.parametrize('mask', [MASK, dict(type='beit_mm.LoadSegmentationMask')])
@pytest.mark.parametrize('name', ['RandomFlip', 'RandomRotate', 'RandomCrop', 'mmseg.Resize'])
def test_moved_before_the_mask_is_loaded(name, mask):
    (told,) = found([LOAD, dict(type=name), mask])
    assert told.startswith('warning: train_dataloader.dataset.pipeline.1: ')
    assert 'moves the image before' in told


@pytest.mark.parametrize('name', ['RandomResizedCrop', 'Rotate', 'Shear', 'RandomCrop'])
def test_moved_without_its_mask(name):
    (told,) = found([LOAD, MASK, dict(type=f'mmpretrain.{name}')])
    assert "and not its mask; take MMSegmentation's" in told


@pytest.mark.parametrize(
    'train, val',
    [
        ([LOAD, MASK, dict(type='RandomFlip'), dict(type='RandomCrop')], None),
        ([LOAD, dict(type='PhotoMetricDistortion'), MASK], None),
        ([LOAD, MASK], [LOAD, dict(type='Resize'), MASK]),  # as MMSegmentation evaluates
        ([LOAD, MASK, dict(type='mmpretrain.RandomFlip'), dict(type='mmpretrain.Resize')], None),
        ([LOAD, dict(type='ToTensor', keys=['gt_label'])], [LOAD]),  # of MMCV
        ([LOAD, dict(type='mmpretrain.RandomResizedCrop')], None),  # no masks at all
    ],
)
def test_moved_rightly(train, val):
    assert not found(train, val)


@pytest.mark.parametrize(
    'step, other',
    [
        (dict(type='NumpyToPIL', to_rgb=True), dict(type='NumpyToPIL')),
        (dict(type='torchvision/ToTensor'), None),
    ],
)
def test_converted_otherwise_in_validation(step, other):
    other = [LOAD, *([other] if other else [])]
    assert found([LOAD, step], other) and found(other, [LOAD, step])
    assert not found([LOAD, step], [LOAD, step])


def test_steps_of_8_bits__behind_the_loader_of_all_bits():
    bands, step = dict(type='LoadMultiBandImage'), dict(type='mmseg.PhotoMetricDistortion')
    assert 'take BandJitter' in found([bands, step])[0]
    assert not found([LOAD, step]) and not found([bands, dict(type='BandJitter')])


def test_converted_and_back():
    there, back = dict(type='NumpyToPIL', to_rgb=True), dict(type='PILToNumpy', to_bgr=True)
    assert not found([LOAD, there, dict(type='torchvision/ColorJitter'), back], [LOAD])
