import random

import numpy as np
import pytest

from beit_mm.contracts import UserError
from beit_mm.datasets.transforms import RandomMask
from beit_mm.registry import TRANSFORMS


def draw(transform, number, seed=0):
    random.seed(seed)
    return np.stack([transform({})['mask'] for _ in range(number)])


@pytest.mark.parametrize('number', [1, 13, 54])
def test_exact_number_in_every_mask(number):
    masks = draw(RandomMask((6, 9), num_masked=number), 50)
    assert masks.dtype == bool and masks.shape == (50, 6, 9)
    assert (masks.sum((1, 2)) == number).all()


def test_uniform_and_independent():
    masks = draw(RandomMask((5, 4), num_masked=8), 3000).reshape(3000, 20)
    assert np.abs(masks.mean(0) - 0.4).max() < 0.04
    pairs = (masks.T.astype(float) @ masks) / 3000
    apart = ~np.eye(20, dtype=bool)
    assert np.abs(pairs[apart] - 8 * 7 / (20 * 19)).max() < 0.035


def test_mask_ratio():
    transform = TRANSFORMS.build(dict(type='RandomMask', grid=8, mask_ratio=0.4))
    assert (draw(transform, 10).sum((1, 2)) == 26).all()


def test_seed_repeats_the_mask():
    transform = RandomMask(8, num_masked=26)
    assert np.array_equal(draw(transform, 5, seed=1), draw(transform, 5, seed=1))
    assert not np.array_equal(draw(transform, 5, seed=1), draw(transform, 5, seed=2))


@pytest.mark.parametrize('config', [dict(), dict(num_masked=65), dict(mask_ratio=1.5)])
def test_wrong_config_is_named(config):
    with pytest.raises(UserError, match='RandomMask.*(num_masked|mask_ratio)'):
        RandomMask(8, **config)
