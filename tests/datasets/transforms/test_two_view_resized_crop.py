import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from beit_mm.contracts import UserError
from beit_mm.datasets.transforms import TwoViewResizedCrop
from beit_mm.registry import TRANSFORMS

FILTERS = dict(
    nearest=Image.NEAREST,
    box=Image.BOX,
    bilinear=Image.BILINEAR,
    hamming=Image.HAMMING,
    bicubic=Image.BICUBIC,
    lanczos=Image.LANCZOS,
)


def noise(*shape, seed=0, dtype=np.uint8):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(dtype)


def coordinate_ramp(height, width):
    """Pixel (y, x) has the channels (x, y, 0), in floating point."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return np.stack([x, y, 0 * x], axis=-1)


def pillow(img, crop, size, name):
    """Crop and resize by Pillow, each channel an image of its own."""
    top, left, height, width = crop
    box = (left, top, left + width, top + height)
    planes = img[..., None] if img.ndim == 2 else img
    planes = [
        np.asarray(Image.fromarray(plane).crop(box).resize(size[::-1], FILTERS[name]))
        for plane in np.moveaxis(planes, -1, 0)
    ]
    return planes[0] if img.ndim == 2 else np.stack(planes, axis=-1)


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    channels=st.sampled_from([None, 1, 2, 3, 4, 7]),
    name=st.sampled_from(sorted(FILTERS)),
    token_name=st.sampled_from(sorted(FILTERS)),
    seed=st.integers(0, 2**16),
)
def test_both_views_equal_pillow(height, width, channels, name, token_name, seed):
    img = noise(height, width, *([] if channels is None else [channels]), seed=seed)
    before = img.copy()
    random.seed(seed)
    crop = TwoViewResizedCrop((9, 14), 7, interpolation=name, token_interpolation=token_name)
    results = crop(dict(img=img))
    assert np.array_equal(results['img'], pillow(img, results['crop'], (9, 14), name))
    assert np.array_equal(results['token_img'], pillow(img, results['crop'], (7, 7), token_name))
    assert results['img'].dtype == results['token_img'].dtype == np.uint8
    assert results['img_shape'] == (9, 14)
    assert np.array_equal(img, before)


def test_three_channels_equal_pillow_rgb():
    img = noise(50, 40, 3)
    results = TwoViewResizedCrop(16, 8)(dict(img=img))
    top, left, height, width = results['crop']
    cut = Image.fromarray(img).crop((left, top, left + width, top + height))
    assert np.array_equal(results['img'], cut.resize((16, 16), Image.BICUBIC))
    assert np.array_equal(results['token_img'], cut.resize((8, 8), Image.LANCZOS))


@pytest.mark.parametrize('dtype', ['int8', 'uint16', 'int16', 'float16', 'float32', 'float64'])
@pytest.mark.parametrize('shape', [(60, 60), (60, 60, 1), (60, 60, 5)])
def test_other_types__antialiased_in_their_own_type(dtype, shape):
    limit = 1 if dtype.startswith('float') else np.iinfo(dtype).max
    img = (np.random.default_rng(0).random(shape) * limit).astype(dtype)
    result = TwoViewResizedCrop(6, scale=(1, 1), ratio=(1, 1))(dict(img=img))['img']
    assert result.dtype == img.dtype and result.shape == (6, 6, *shape[2:])
    expected = pillow(img.astype(np.float32), (0, 0, 60, 60), (6, 6), 'bicubic')
    assert np.abs(result - expected).max() <= (1e-3 if limit == 1 else 0.5)
    # Each output pixel averages about 100 independent ones; picking single ones keeps the spread.
    assert result.astype(np.float64).std() < 0.2 * img.astype(np.float64).std()


def test_integers__overshoot_is_clipped_not_wrapped():
    img = np.zeros((8, 8), dtype=np.uint16)
    img[:, 4:] = 65535
    result = TwoViewResizedCrop(32, scale=(1, 1), ratio=(1, 1))(dict(img=img))['img']
    assert (result[:, :12] < 1000).all() and (result[:, 20:] > 64000).all()


@pytest.mark.parametrize('seed', range(20))
def test_both_views_show_the_recorded_crop(seed):
    """Of a ramp x, a crop shows its own coordinates: mean and slope tell where it was."""
    random.seed(seed)
    crop = TwoViewResizedCrop(24, 12, interpolation='bilinear', token_interpolation='box')
    results = crop(dict(img=coordinate_ramp(80, 120)))
    top, left, height, width = results['crop']
    for view in (results['img'], results['token_img']):
        side = view.shape[0]
        centers = (np.arange(side) + 0.5) / side
        inner = slice(side // 4, -(side // 4))  # the filter is cut off at the border
        x, y = left - 0.5 + width * centers, top - 0.5 + height * centers
        assert np.allclose(view[0, inner, 0], x[inner], atol=0.51)
        assert np.allclose(view[inner, 0, 1], y[inner], atol=0.51)


def test_nothing_beyond_the_crop_is_seen():
    img = noise(60, 60, 3)
    random.seed(1)
    before = TwoViewResizedCrop(16, 8, scale=(0.2, 0.4))(dict(img=img))
    top, left, height, width = before['crop']
    other = 255 - img
    other[top : top + height, left : left + width] = img[top : top + height, left : left + width]
    random.seed(1)
    after = TwoViewResizedCrop(16, 8, scale=(0.2, 0.4))(dict(img=other))
    assert np.array_equal(before['img'], after['img'])
    assert np.array_equal(before['token_img'], after['token_img'])


@settings(max_examples=200, deadline=None)
@given(
    height=st.integers(1, 500),
    width=st.integers(1, 500),
    scale=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)).map(sorted),
    ratio=st.tuples(st.floats(0.2, 5), st.floats(0.2, 5)).map(sorted),
    seed=st.integers(0, 2**16),
)
def test_crop_lies_inside_any_image(height, width, scale, ratio, seed):
    random.seed(seed)
    crop = TwoViewResizedCrop(8, scale=scale, ratio=ratio)
    top, left, rows, columns = crop.sample_crop(height, width)
    assert rows > 0 and columns > 0
    assert 0 <= top <= height - rows and 0 <= left <= width - columns


def test_area_and_aspect_follow_scale_and_ratio():
    random.seed(0)
    crop = TwoViewResizedCrop(8, scale=(0.1, 0.5), ratio=(0.5, 2))
    boxes = np.array([crop.sample_crop(1000, 1000) for _ in range(4000)])
    area, aspect = boxes[:, 2] * boxes[:, 3] / 1e6, boxes[:, 3] / boxes[:, 2]
    assert 0.099 < area.min() < 0.11 and 0.49 < area.max() < 0.501
    assert 0.498 < aspect.min() < 0.52 and 1.92 < aspect.max() < 2.01
    assert abs(area.mean() - 0.3) < 0.01  # uniform
    assert abs(np.log(aspect).mean()) < 0.03  # log-uniform: as often tall as wide
    assert abs(np.log(aspect).std() - math.log(4) / math.sqrt(12)) < 0.02


def test_crop_distribution_equals_torchvision():
    from torchvision.transforms import RandomResizedCrop  # importable once beit_mm is

    random.seed(0)
    torch.manual_seed(0)
    crop, blank = TwoViewResizedCrop(8), Image.new('L', (40, 60))
    ours = [crop.sample_crop(60, 40) for _ in range(4000)]
    theirs = [RandomResizedCrop.get_params(blank, (0.08, 1.0), (3 / 4, 4 / 3)) for _ in range(4000)]
    for column in range(4):
        mine, other = (np.sort(np.array(boxes)[:, column]) for boxes in (ours, theirs))
        # Kolmogorov-Smirnov distance; 0.0364 is passed by chance once in a hundred
        grid = np.arange(61)
        distance = np.abs(np.searchsorted(mine, grid) - np.searchsorted(other, grid)).max() / 4000
        assert distance < 0.045


def test_every_position_is_reached__last_row_and_column_too():
    random.seed(0)
    crop = TwoViewResizedCrop(4, scale=(0.25, 0.25), ratio=(1, 1))
    boxes = np.array([crop.sample_crop(8, 8) for _ in range(1000)])
    assert (boxes[:, 2:] == 4).all()
    counts = np.zeros((5, 5), dtype=int)
    np.add.at(counts, (boxes[:, 0], boxes[:, 1]), 1)
    assert counts.min() > 15  # 40 on average


@pytest.mark.parametrize(
    'shape, crop',
    [
        ((10, 100), (0, 43, 10, 13)),  # too wide: 4/3 as wide as high, in the center
        ((100, 10), (43, 0, 13, 10)),  # too tall
        ((30, 30), (0, 0, 30, 30)),  # ratio fits: the whole image
    ],
)
def test_fallback_is_central(shape, crop, monkeypatch):
    monkeypatch.setattr(random, 'uniform', lambda low, high: 1e9)
    monkeypatch.setattr(math, 'exp', lambda x: 1.0)
    assert TwoViewResizedCrop(8).sample_crop(*shape) == crop


def test_seed_repeats_the_crop():
    crop, img = TwoViewResizedCrop(8, 4), noise(40, 50, 3)

    def draw(seed):
        random.seed(seed)
        return [crop(dict(img=img))['crop'] for _ in range(5)]

    assert draw(3) == draw(3) != draw(4)


def test_no_token_size__one_view():
    transform = TRANSFORMS.build(dict(type='TwoViewResizedCrop', size=8))
    results = transform(dict(img=noise(20, 20)))
    assert results['img'].shape == (8, 8) and 'token_img' not in results


@pytest.mark.parametrize(
    'config, key',
    [
        (dict(size=0), 'size'),
        (dict(size=(8, 8, 3)), 'size'),
        (dict(size=8, token_size='4'), 'token_size'),
        (dict(size=8, scale=(0.5, 0.1)), 'scale'),
        (dict(size=8, scale=(0.5, 1.5)), 'scale'),
        (dict(size=8, ratio=(0, 1)), 'ratio'),
        (dict(size=8, ratio=1.0), 'ratio'),
        (dict(size=8, interpolation='cubic'), 'interpolation.*bicubic'),
        (dict(size=8, token_interpolation='area'), 'token_interpolation'),
    ],
)
def test_wrong_config_is_named(config, key):
    with pytest.raises(UserError, match=rf'TwoViewResizedCrop\.{key}'):
        TwoViewResizedCrop(**config)


@pytest.mark.parametrize(
    'results, message',
    [
        (dict(), 'LoadImageFromFile'),
        (dict(img=None), 'LoadImageFromFile'),
        (dict(img=np.zeros(4, np.uint8)), r'shape \(4,\)'),
        (dict(img=np.zeros((0, 4), np.uint8)), r'shape \(0, 4\)'),
        (dict(img=np.zeros((4, 4), bool)), 'dtype bool'),
    ],
)
def test_wrong_input_is_named(results, message):
    with pytest.raises(UserError, match=message):
        TwoViewResizedCrop(4)(results)


@pytest.mark.parametrize('name', ['bicubic', 'bilinear', 'lanczos'])
@pytest.mark.parametrize('channels', [None, 1, 3, 13])
def test_torch__differs_from_pillow_by_rounding(name, channels):
    img = noise(60, 80, *([] if channels is None else [channels]))
    made = []
    for resize in ('pillow', 'torch'):
        random.seed(0)
        crop = TwoViewResizedCrop(
            24, 12, interpolation=name, token_interpolation=name, resize=resize
        )
        made.append(crop(dict(img=img)))
    for view in ('img', 'token_img'):
        assert made[0][view].shape == made[1][view].shape
        assert np.abs(made[0][view].astype(int) - made[1][view]).max() <= 2


def test_torch__leaves_other_types_and_filters_to_pillow():
    for img, name in (
        (noise(40, 40, 3, dtype=np.float32), 'bicubic'),
        (noise(40, 40, 3), 'hamming'),
    ):
        made = []
        for resize in ('pillow', 'torch'):
            random.seed(0)
            made.append(TwoViewResizedCrop(16, interpolation=name, resize=resize)(dict(img=img)))
        assert np.array_equal(made[0]['img'], made[1]['img'])


@pytest.mark.parametrize('resize', ['pillow', 'torch'])
@pytest.mark.parametrize('channels', [1, 3, 5])
def test_mirrored_image__is_that_of_a_copy(resize, channels):
    img = noise(40, 50, channels)[:, ::-1]
    made = []
    for one in (img, img.copy()):
        random.seed(0)
        made.append(TwoViewResizedCrop(16, 8, resize=resize)(dict(img=one)))
    assert np.array_equal(made[0]['img'], made[1]['img'])
    assert np.array_equal(made[0]['token_img'], made[1]['token_img'])


def test_equal_views__do_not_share_memory():
    results = TwoViewResizedCrop(16, 16, token_interpolation='bicubic')(dict(img=noise(40, 40, 3)))
    assert np.array_equal(results['img'], results['token_img'])
    assert not np.shares_memory(results['img'], results['token_img'])
