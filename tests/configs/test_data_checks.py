"""Shipped configs check their data while they train, by the numbers of their own models."""

from pathlib import Path

import pytest

from beit_mm.cli.config_loading import load_config

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
SEGMENTATION = sorted(CONFIGS.glob('segmentation/*.py'))
RUNTIMES = sorted(CONFIGS.glob('_base_/runtime/*_runtime.py'))


@pytest.mark.parametrize('path', SEGMENTATION, ids=lambda path: path.stem)
def test_masks__are_checked_where_they_are_loaded(path):
    config = load_config(path)
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        pipeline = config[name].dataset.pipeline
        names = [step.type for step in pipeline]
        check = pipeline[names.index('beit_mm.LoadSegmentationMask') + 1]
        assert check.type == 'beit_mm.CheckSegmentation'
        if config[name].dataset.type != 'beit_mm.SegmentationFolder':  # whose samples say it
            assert check.num_classes == config.model.decode_head.num_classes


@pytest.mark.parametrize('path', RUNTIMES, ids=lambda path: path.stem)
def test_labels_and_classes__are_checked_first(path):
    assert dict(type='beit_mm.DatasetCheckHook') in load_config(path).default_hooks.values()
