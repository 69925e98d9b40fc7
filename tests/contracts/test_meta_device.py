"""Every plugin is built without memory, as a description of a checkpoint is tried."""

import pytest
import torch
from examples import (
    BACKBONES,
    FEATMAP,
    FEATURES,
    HEADS,
    NECKS,
    QUANTIZERS,
    TARGETS,
    TOKENIZERS,
    build,
)

from beit_mm.registry import MODELS

KINDS = (TOKENIZERS, TARGETS, BACKBONES, NECKS, HEADS, FEATURES, QUANTIZERS)
PARTS = [(examples, name) for examples in KINDS for name in examples]


def shapes(part):
    return {name: (value.shape, value.dtype) for name, value in part.state_dict().items()}


@pytest.mark.parametrize(('examples', 'name'), PARTS, ids=[name for _, name in PARTS])
def test_part__has_the_same_tensors_on_the_meta_device(examples, name):
    with torch.device('meta'):
        empty = build(examples, name)
    assert shapes(empty) == shapes(build(examples, name))
    assert all(value.is_meta for value in empty.parameters())


def test_perceptual_loss__is_built_on_the_meta_device():
    backbone = dict(FEATMAP, type='beit_mm.BEiTEncoder')
    with torch.device('meta'):
        MODELS.build(dict(type='beit_mm.PerceptualReconLoss', backbone=backbone))
