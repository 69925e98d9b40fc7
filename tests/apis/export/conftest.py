from pathlib import Path

import numpy as np
import pytest
from checkpoints_of_models import classifier, pretraining, saved, segmentor, tokenizer
from mmengine.config import Config
from PIL import Image

NO_RESIZE = [dict(type='LoadImageFromFile')]


def upernet(**changes) -> Config:
    """A segmentor as transformers has it: four layers, their pyramid, and UPerNet."""
    config = segmentor(head='UPerHead', resize=False)
    config.model.backbone.update(
        arch=dict(embed_dims=32, num_layers=4, num_heads=2), out_indices=(0, 1, 2, 3)
    )
    config.model.neck.rescales = [4, 2, 1, 0.5]
    config.model.decode_head.update(in_channels=[32] * 4, in_index=[0, 1, 2, 3], channels=32)
    config.model.decode_head.update(changes)
    return config


MODELS = dict(
    classification=classifier,
    pretraining=pretraining,
    segmentation=upernet,
    decoder=lambda: segmentor(resize=False),
    probe=lambda: classifier(neck='gap'),
    tokenizer=tokenizer,
    pixels=lambda: pretraining(
        token=dict(type='FeatureTarget', stride=8, features=dict(type='PatchPixels', patch_size=8)),
        head='FeatureRegressionHead',
    ),
    bgr=lambda: pretraining(bgr=False),
    wide=lambda: pretraining(size=(32, 48)),
    bands=lambda: classifier(
        in_channels=4, loader=dict(type='beit_mm.LoadMultiBandImage', channels=4)
    ),
    signed=lambda: classifier(
        in_channels=1,
        loader=dict(
            type='beit_mm.LoadMultiBandImage', bands=[2], window=[-1000, 400], nodata=-2000
        ),
    ),
)


@pytest.fixture(scope='session')
def checkpoint(tmp_path_factory):
    """Return a function: the name of a model -> its checkpoint."""
    folder, found = tmp_path_factory.mktemp('checkpoints'), {}

    def find(name: str) -> Path:
        if name not in found:
            found[name] = folder / f'{name}.pth'
            saved(MODELS[name](), found[name])
        return found[name]

    return find


@pytest.fixture
def picture() -> Image.Image:
    """A picture of the size of the models."""
    rng = np.random.default_rng(3)
    return Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
