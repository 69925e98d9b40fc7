import numpy as np
import pytest

from beit_mm.visualization import (
    constant_ids,
    mask_patches,
    most_used,
    paste_patches,
    segmentation_overlay,
    swapped_ids,
    tile,
    to_rgb,
)


def flat(value, height=6, width=10):
    return np.full((height, width, 3), value, np.uint8)


def test_tile__keeps_the_shape_of_an_image():
    image = np.zeros((20, 10, 3), np.uint8)
    square = tile(image, 160, most=8.0)
    assert square.shape == (160, 160, 3)
    assert (square[:, :80] == 0).all() and (square[:, 80:] == 255).all()
    square = tile(image, 160)  # is not enlarged
    assert (square[:20, :10] == 0).all() and (square == 0).sum() == image.size
    assert (tile(image, 10)[:, :5] == 0).all() and (tile(image, 10)[:, 5:] == 255).all()


def test_masked_patches_are_gray_and_others_untouched():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (12, 20, 3), dtype=np.uint8)
    mask = np.array([[1, 0, 0, 1, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 1]], bool)
    pixels = np.kron(mask, np.ones((4, 4), bool))
    before = image.copy()
    painted = mask_patches(image, mask)
    assert painted.dtype == np.uint8
    assert (painted[pixels] == 128).all()
    assert np.array_equal(painted[~pixels], image[~pixels])
    assert (mask_patches(image, mask, 7)[pixels] == 7).all()
    other = 255 - image
    pasted = paste_patches(image, other, mask)
    assert np.array_equal(pasted[pixels], other[pixels])
    assert np.array_equal(pasted[~pixels], image[~pixels])
    assert np.array_equal(image, before)


def test_overlay_mixes_by_its_opacity():
    image = flat(100, 2, 3)
    ids = np.array([[0, 1, 2], [2, 1, 0]])
    palette = [[9, 9, 9], [200, 0, 50], [0, 255, 101]]
    got = segmentation_overlay(image, ids, palette, opacity=0.25)
    assert got.dtype == np.uint8
    assert (got[ids == 0] == 100).all()  # the background stays clear
    assert (got[ids == 1] == [125, 75, 88]).all()  # 87.5 rounds to even
    assert (got[ids == 2] == [75, 139, 100]).all()
    assert (segmentation_overlay(image, ids, palette, opacity=0) == 100).all()
    assert (segmentation_overlay(image, ids, palette, opacity=1)[ids == 1] == [200, 0, 50]).all()


@pytest.mark.parametrize('unknown', [3, 255, 256, 70_000, -1])
def test_overlay__unknown_ids_are_clear(unknown):
    ids = np.array([[1, unknown]])
    got = segmentation_overlay(flat(100, 1, 2), ids, [[0] * 3, [0, 0, 0], [0] * 3], opacity=1)
    assert got[0].tolist() == [[0] * 3, [100] * 3]


def test_most_used__without_those_that_are_not():
    assert most_used(np.array([1, 0, 7, 7, 0]), 9).tolist() == [2, 3, 0]
    assert most_used(np.array([1, 0, 7, 7, 0]), 1).tolist() == [2]


def test_to_rgb__any_channels():
    images = np.random.default_rng(0).random((2, 5, 3, 4)).astype(np.float32) * 1.5 - 0.25
    expected = np.clip(images, 0, 1).transpose(0, 2, 3, 1) * 255
    assert np.abs(to_rgb(images) - expected[..., :3]).max() <= 0.5
    for channels in (1, 2):
        assert np.abs(to_rgb(images[:, :channels]) - expected[..., :1]).max() <= 0.5


def test_to_rgb__brightened():
    images = np.float32([0, 0.1, 0.25, 0.5]).reshape(1, 1, 2, 2)
    assert to_rgb(images, white=0.25)[0, ..., 0].tolist() == [[0, 102], [255, 255]]


def test_traversal__ids():
    assert constant_ids([4, 1], (2, 3)).tolist() == [[[4] * 3] * 2, [[1] * 3] * 2]
    ids = np.arange(6).reshape(2, 3)
    swapped = swapped_ids(ids, [9, 8], (1, 0))
    assert swapped[:, 1, 0].tolist() == [9, 8]
    swapped[:, 1, 0] = ids[1, 0]
    assert (swapped == ids).all() and ids[1, 0] == 3
