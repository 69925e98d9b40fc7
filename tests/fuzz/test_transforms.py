"""Transforms on images of any size, channels and type."""

import random

import numpy as np
import pytest
import torch
from fuzzing import prop, seeds
from hypothesis import strategies as st
from PIL import Image

from beit_mm.datasets.transforms import BandJitter, PackMIMInputs, TwoViewResizedCrop
from beit_mm.datasets.transforms.two_view_resized_crop import DTYPES, FILTERS

CONVEX = ('nearest', 'box', 'bilinear', 'hamming')  # their weights are not negative


@st.composite
def images(draw, dtypes=DTYPES, most=40):
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    shape = [draw(st.integers(1, most)), draw(st.integers(1, most))]
    if channels := draw(st.integers(0, 6)):
        shape.append(channels)
    numbers = np.random.default_rng(draw(seeds))
    if dtype.kind == 'f':
        return (numbers.standard_normal(shape) * 10.0 ** draw(st.integers(-3, 3))).astype(dtype)
    limits = np.iinfo(dtype)
    return numbers.integers(limits.min, limits.max, shape, dtype, endpoint=True)


sizes = st.integers(1, 24) | st.tuples(st.integers(1, 24), st.integers(1, 24))
filters = st.sampled_from(sorted(FILTERS))


@st.composite
def crops(draw, **fixed):
    low = draw(st.floats(0.01, 1))
    ratio = sorted([draw(st.floats(0.1, 10)), draw(st.floats(0.1, 10))])
    settings = dict(
        size=draw(sizes),
        token_size=draw(sizes),
        scale=(low, draw(st.floats(low, 1))),
        ratio=ratio,
        interpolation=draw(filters),
        token_interpolation=draw(filters),
    )
    return {**settings, **fixed}


def run(transform, img, seed):
    random.seed(seed)
    return transform.transform(dict(img=img))


def pair(size):
    return (size, size) if isinstance(size, int) else size


@prop(few=40, img=images(), settings=crops(), seed=seeds)
def test_two_views__shape_type_and_range(img, settings, seed):
    before = img.copy()
    out = run(TwoViewResizedCrop(**settings), img, seed)
    assert np.array_equal(img, before)
    top, left, height, width = out['crop']
    assert 0 <= top < top + height <= img.shape[0]
    assert 0 <= left < left + width <= img.shape[1]
    part = img[top : top + height, left : left + width]
    for key, name in (('img', 'interpolation'), ('token_img', 'token_interpolation')):
        size = settings['size' if key == 'img' else 'token_size']
        assert out[key].shape == (*pair(size), *img.shape[2:])
        assert out[key].dtype == img.dtype
        if settings[name] in CONVEX:  # no value that the crop doesn't have between its ends
            room = 1e-2 * float(np.abs(part).max()) if img.dtype.kind == 'f' else 1
            assert out[key].min() >= float(part.min()) - room
            assert out[key].max() <= float(part.max()) + room


@prop(few=40, img=images(dtypes=['uint8']), settings=crops(), seed=seeds)
def test_two_views__are_pillows_of_one_crop(img, settings, seed):
    out = run(TwoViewResizedCrop(**settings), img, seed)
    top, left, height, width = out['crop']
    box = (left, top, left + width, top + height)
    bands = img if img.ndim == 3 else img[..., None]
    for key, name in (('img', 'interpolation'), ('token_img', 'token_interpolation')):
        size = pair(settings['size' if key == 'img' else 'token_size'])[::-1]
        for band in range(bands.shape[2]):
            plane = Image.fromarray(bands[..., band]).crop(box)
            expected = np.asarray(plane.resize(size, Image.Resampling[settings[name].upper()]))
            got = out[key] if img.ndim == 2 else out[key][..., band]
            assert np.array_equal(got, expected)


@prop(few=40, img=images(most=24), settings=crops(), seed=seeds)
def test_two_views__decided_by_the_seed(img, settings, seed):
    first, again = (run(TwoViewResizedCrop(**settings), img, seed) for _ in range(2))
    assert first.keys() == again.keys() and first['crop'] == again['crop']
    for key in ('img', 'token_img'):
        assert np.array_equal(first[key], again[key], equal_nan=img.dtype.kind == 'f')


@prop(
    few=40,
    img=images(dtypes=['float32', 'float64']),
    settings=crops(scale=(1.0, 1.0), ratio=(1e-9, 1e9)),
    axis=st.sampled_from([0, 1]),
    seed=seeds,
)
def test_two_views__of_the_mirrored_image_are_mirrored(img, settings, axis, seed):
    """With the whole image as the crop."""
    keys = ('interpolation', 'token_interpolation')
    transform = TwoViewResizedCrop(**settings)
    transform.sample_crop = lambda height, width: (0, 0, height, width)
    plain, mirrored = run(transform, img, seed), run(transform, np.flip(img, axis).copy(), seed)
    for key, name in zip(('img', 'token_img'), keys, strict=True):
        if settings[name] in ('nearest', 'box'):
            continue  # a pixel on the border of two goes to one of them
        room = 1e-4 * float(np.abs(img).max())
        assert np.allclose(np.flip(mirrored[key], axis), plain[key], rtol=1e-4, atol=room)


@prop(
    few=40,
    img=images(),
    brightness=st.floats(0, 1),
    contrast=st.floats(0, 1),
    per_band=st.booleans(),
    seed=seeds,
)
def test_band_jitter__its_formula_in_the_same_type(img, brightness, contrast, per_band, seed):
    jitter = BandJitter(brightness, contrast, per_band)
    random.seed(seed)
    got = jitter.transform(dict(img=img.copy()))['img']
    assert got.shape == img.shape and got.dtype == img.dtype
    random.seed(seed)
    assert np.array_equal(jitter.transform(dict(img=img.copy()))['img'], got)
    # the draws of its documentation, band by band
    random.seed(seed)
    bands = img.shape[2] if img.ndim == 3 else 1
    number = bands if per_band else 1
    gains = [1 + random.uniform(-1, 1) * brightness for _ in range(number)]
    spreads = [1 + random.uniform(-1, 1) * contrast for _ in range(number)]
    for band in range(bands):
        plane = img if img.ndim == 2 else img[..., band]
        out = got if img.ndim == 2 else got[..., band]
        gain, spread = gains[band % number], spreads[band % number]
        values = plane.astype(np.longdouble)
        mean = values.mean()
        values = gain * (mean + spread * (values - mean))
        if img.dtype.kind in 'iu':
            limits = np.iinfo(img.dtype)
            assert np.abs(out - values.clip(limits.min, limits.max)).max() <= 0.5 + 1e-6
        else:
            limits = np.finfo(img.dtype)
            values = values.astype(img.dtype).astype(float)
            scale = float(np.abs(plane).max())
            assert np.allclose(out, values, rtol=4 * limits.eps, atol=8 * limits.eps * scale)


@prop(few=20, img=images())
def test_band_jitter__nothing_to_change(img):
    got = BandJitter(0, 0).transform(dict(img=img.copy()))['img']
    if img.dtype.kind in 'iu':
        assert np.array_equal(got, img)
    else:
        assert np.allclose(got, img, rtol=1e-12, atol=1e-12 * float(np.abs(img).max()))


@prop(few=40, img=images(), token=images(), grid=st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_pack__the_same_values_channels_first(img, token, grid):
    mask = np.random.default_rng(0).random(grid) < 0.5
    before = token.copy()
    img.flags.writeable = False
    packed = PackMIMInputs().transform(dict(img=img, token_img=token[::-1], mask=mask, other=1))
    assert set(packed) == {'inputs', 'token_inputs', 'mask'}
    for got, source in ((packed['inputs'], img), (packed['token_inputs'], token[::-1])):
        assert got.dtype == (torch.uint8 if source.dtype == np.uint8 else torch.float32)
        assert got.is_contiguous() and got.shape[1:] == source.shape[:2]
        planes = source if source.ndim == 3 else source[..., None]
        expected = planes if source.dtype == np.uint8 else planes.astype(np.float32)
        assert np.array_equal(got.permute(1, 2, 0).numpy(), expected)
    assert packed['mask'].dtype == torch.bool and np.array_equal(packed['mask'], mask)
    packed['token_inputs'].fill_(1)
    assert np.array_equal(token, before)  # memory of its own


@pytest.mark.parametrize('shape', [(), (3,), (0, 4, 3), (4, 0, 3), (4, 4, 0), (2, 2, 2, 2)])
def test_two_views__no_image_is_refused_in_words(shape):
    with pytest.raises(ValueError, match='TwoViewResizedCrop: img has shape'):
        run(TwoViewResizedCrop(8), np.zeros(shape, np.uint8), 0)
