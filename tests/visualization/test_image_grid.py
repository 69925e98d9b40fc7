import numpy as np
import pytest

from beit_mm.visualization import (
    grid,
    label,
    mask_patches,
    paste_patches,
    segmentation_overlay,
)


def flat(value, height=6, width=10):
    return np.full((height, width, 3), value, np.uint8)


@pytest.mark.parametrize('zoom, gap', [(1, 4), (3, 2), (1, 0)])
@pytest.mark.parametrize('titles', [(), ('a', 'b', 'c')])
def test_grid__each_image_in_its_cell_and_white_between(zoom, gap, titles):
    rows = [[flat(10 * (3 * r + c + 1)) for c in range(3)] for r in range(2)]
    picture = grid(rows, titles, zoom, gap)
    top, high, wide = (22 if titles else 0), 6 * zoom, 10 * zoom
    assert picture.dtype == np.uint8
    assert picture.shape == (gap + top + 2 * (high + gap), gap + 3 * (wide + gap), 3)
    rest = picture[gap + top :].copy()
    for r in range(2):
        for c in range(3):
            y, x = r * (high + gap), gap + c * (wide + gap)
            assert (rest[y : y + high, x : x + wide] == 10 * (3 * r + c + 1)).all()
            rest[y : y + high, x : x + wide] = 255
    assert (rest == 255).all()
    assert (picture[:gap] == 255).all()


def test_grid__images_keep_their_orientation_and_channels():
    image = np.arange(6 * 10 * 3, dtype=np.uint8).reshape(6, 10, 3)
    assert np.array_equal(grid([[image]], gap=1)[1:-1, 1:-1], image)
    twice = grid([[image]], zoom=2, gap=1)[1:-1, 1:-1]
    assert np.array_equal(twice, image.repeat(2, 0).repeat(2, 1))


def test_grid__titles_stand_above_their_columns():
    columns = [[flat(0, 6, 40), flat(0, 6, 40)]]
    first, second = (grid(columns, titles, gap=4)[4:26] for titles in (['iii', ''], ['', 'iii']))
    dark = [np.flatnonzero((strip < 128).all(2).any(0)) for strip in (first, second)]
    assert 4 <= dark[0].min() and dark[0].max() < 44
    assert np.array_equal(dark[1], dark[0] + 44)


def test_label__text_is_centerd_and_too_long_a_text_begins_at_the_edge():
    strip = label('HH', 101)
    columns = np.flatnonzero((strip < 200).all(2).any(0))
    assert strip.shape == (22, 101, 3)
    assert abs(columns.min() + columns.max() - 100) <= 2
    assert (label('H' * 40, 30)[:, :8] < 200).any()
    assert (label('', 30) == 255).all()


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
