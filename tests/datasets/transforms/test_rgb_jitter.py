import numpy as np
import pytest
from PIL import Image, ImageEnhance

from beit_mm.contracts import UserError
from beit_mm.datasets.transforms import RGBJitter, TwoViewResizedCrop

ENHANCERS = dict(
    brightness=ImageEnhance.Brightness,
    contrast=ImageEnhance.Contrast,
    saturation=ImageEnhance.Color,
)
JITTER = dict(brightness=0.4, contrast=0.4, saturation=0.4)


def photograph(seed, height=48, width=60):
    """Soft shapes with some noise, BGR."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    soft = np.asarray(coarse.resize((width, height), Image.BICUBIC), np.float64)
    return (soft + generator.normal(0, 5, soft.shape)).clip(0, 255).astype(np.uint8)


def torchvision_jitter(img, seed, **ranges):
    """Do what torchvision does with a Pillow image: each in a random order, hue without effect."""
    np.random.seed(seed)
    order = np.random.permutation(4)
    factors = {name: np.random.uniform(*ranges[name]) for name in ENHANCERS}
    picture = Image.fromarray(img[..., ::-1].copy())
    for number in order:
        if number < 3:
            name = list(ENHANCERS)[number]
            picture = ENHANCERS[name](picture).enhance(factors[name])
    return np.asarray(picture)[..., ::-1]


@pytest.mark.parametrize('value', [0.4, 1.0])
def test_pixels_equal_pillow_in_every_order(value):
    jitter = RGBJitter(value, value, value)
    for seed in range(24):
        img = photograph(seed)
        before = img.copy()
        expected = torchvision_jitter(img, seed, **dict.fromkeys(ENHANCERS, (1 - value, 1 + value)))
        np.random.seed(seed)
        assert np.array_equal(jitter(dict(img=img))['img'], expected)
        assert np.array_equal(img, before)


def test_zero_changes_nothing_and_a_range_is_a_range():
    img = photograph(0)
    assert np.array_equal(RGBJitter()(dict(img=img))['img'], img)
    darker = RGBJitter(brightness=(0.5, 0.5))(dict(img=img))['img']
    assert np.array_equal(darker, img // 2)


@pytest.mark.parametrize('value', [0.3, (0.6, 1.0)])
def test_views_change_as_the_whole_image_does(value):
    """Both views have the colors that a RGBJitter before the crop makes, up to rounding."""
    arguments = dict.fromkeys(JITTER, value)
    whole = TwoViewResizedCrop(24, 12, scale=None, interpolation='box', token_interpolation='box')
    late = TwoViewResizedCrop(
        24, 12, None, interpolation='box', token_interpolation='box', color_jitter=arguments
    )
    for seed in range(12):
        img = photograph(seed, 96, 96) // 2 + 60  # no value at the ends, where both are cut off
        np.random.seed(seed)
        expected = whole(RGBJitter(**arguments)(dict(img=img)))
        np.random.seed(seed)
        found = late(dict(img=img))
        for view in ('img', 'token_img'):
            difference = np.abs(found[view].astype(int) - expected[view])
            inside = (expected[view] > 8) & (expected[view] < 247)
            assert difference[inside].max() <= 3


def test_views__contrast_is_around_the_mean_of_the_image_not_of_the_crop():
    img = np.full((64, 128, 3), 40, np.uint8)
    img[:, 64:] = 200
    crop = TwoViewResizedCrop(8, scale=None, ratio=(1, 1), color_jitter=dict(contrast=(0.5, 0.5)))
    crop.sample_crop = lambda height, width: (0, 0, 64, 64)
    assert np.abs(crop(dict(img=img))['img'].astype(int) - 80).max() <= 1  # half way to 120


@pytest.mark.parametrize(
    'img', [None, np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.uint16), np.zeros((4, 4, 13))]
)
def test_other_images_are_refused(img):
    with pytest.raises(UserError, match='RGBJitter: '):
        RGBJitter(0.4)(dict(img=img))


@pytest.mark.parametrize('arguments', [dict(brightness=-0.1), dict(contrast=(2, 1))])
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(UserError, match=rf'RGBJitter\.{next(iter(arguments))}='):
        RGBJitter(**arguments)
