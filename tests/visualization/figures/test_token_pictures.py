import numpy as np
import pytest

from beit_mm.visualization import (
    code_atlas,
    code_traversal,
    patches_of_code,
    reconstruction_grid,
    usage_histogram,
)
from beit_mm.visualization.figures import token_pictures
from beit_mm.visualization.figures.image_grid import LABELS
from beit_mm.visualization.figures.token_pictures import GAP

TALL, WIDE = 4, 6  # pixels of a patch


@pytest.fixture
def drawn():
    """Images whose every patch tells its code and its own number; not square, several images."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 5, (3, 2, 4))
    ids[ids == 3] = 2  # a code that is not used
    numbers = np.arange(ids.size).reshape(ids.shape)
    marks = np.stack([ids * 40, numbers * 9, numbers], -1).astype(np.uint8)
    return marks.repeat(TALL, 1).repeat(WIDE, 2), ids


def cells(picture, rows, columns, zoom):
    """(rows, columns, TALL, WIDE, 3) as they stand in an atlas."""
    body = picture[:, LABELS:]
    tall, wide = TALL * zoom + GAP, WIDE * zoom + GAP
    assert body.shape[:2] == (rows * tall + GAP, columns * wide + GAP)
    lines = [
        [
            body[GAP + r * tall :, GAP + c * wide :][: TALL * zoom : zoom, : WIDE * zoom : zoom]
            for c in range(columns)
        ]
        for r in range(rows)
    ]
    return np.array(lines)


def numbers_of(patches):
    assert (patches == patches[:, :1, :1]).all()  # cut where a patch begins
    return patches[:, 0, 0, 2].tolist()


def test_patches__all_those_of_the_code_and_no_others(drawn):
    images, ids = drawn
    for code in range(5):
        patches = patches_of_code(images, ids, code)
        assert numbers_of(patches) == np.flatnonzero(ids == code).tolist()


def test_atlas__a_row_has_just_the_patches_of_its_code(drawn):
    images, ids = drawn
    codes, columns = [4, 0, 2], 20
    picture = code_atlas(images, ids, codes, columns, cell=14)
    for row, code in zip(cells(picture, 3, columns, zoom=2), codes, strict=True):
        count = (ids == code).sum()
        assert 0 < count < columns
        assert (row[:count, ..., 0] == 40 * code).all()
        assert numbers_of(row[:count]) == np.flatnonzero(ids == code).tolist()
        assert (row[count:] == 255).all()


def test_atlas__of_many_patches_some_from_the_first_to_the_last(drawn):
    images, ids = drawn
    row = cells(code_atlas(images, ids, [2], columns=3, cell=6), 1, 3, zoom=1)[0]
    places = np.flatnonzero(ids == 2)
    shown = numbers_of(row)
    assert len(places) > 3 and set(shown) <= set(places.tolist())
    assert (shown[0], shown[-1]) == (places[0], places[-1])


def bars_in(picture):
    """Heights of the bars, a number for each column of pixels between the axes."""
    blue = (picture == (31, 119, 180)).all(-1)
    assert (np.diff(blue.astype(int), axis=0) == -1).sum(0).max() <= 1  # nothing floats
    return blue.sum(0)


def test_histogram__heights_are_proportional_to_log_counts_and_sorted():
    counts = np.array([7, 0, 63, 1])  # log2(1 + count): 3, 0, 6, 1
    heights = bars_in(usage_histogram(counts))
    assert (np.diff(heights[heights.argmax() :]) <= 0).all()
    values, widths = np.unique(heights[heights > 0], return_counts=True)
    high = values.max()
    common = sorted(values[widths > 50] / high)  # the edges of a bar are blurred
    assert common == pytest.approx([1 / 6, 3 / 6, 1], abs=0.02)
    assert np.ptp(widths[widths > 50]) <= 3  # equally wide
    unused = len(heights) - np.flatnonzero(heights).max()
    assert unused > 100  # a quarter of the axis is left for the code without a bar


def test_histogram__many_codes():
    counts = np.random.default_rng(0).integers(1, 1000, 4000)
    heights = bars_in(usage_histogram(counts, width=600, height=400))
    heights = heights[heights > 0][:-1]  # the last bars are too steep for a pixel
    places = np.linspace(0, len(counts) - 1, len(heights) + 1)[:-1].astype(int)
    expected = np.log1p(np.sort(counts)[::-1][places]) / np.log1p(counts.max())
    np.testing.assert_allclose(heights / heights.max(), expected, atol=0.03)


def test_histogram__no_tokens_no_bars():
    assert not bars_in(usage_histogram(np.zeros(5, int))).any()


def test_histogram__axes_and_title_tell_what_is_shown(monkeypatch):
    figures = []
    monkeypatch.setattr(token_pictures, 'to_pixels', figures.append)
    usage_histogram(np.array([7, 0, 63, 1]))
    (axes,) = figures[0].axes
    assert axes.get_title() == '3 of 4 codes used, 0 to 63 times'
    assert axes.get_xlabel() and axes.get_ylabel()
    assert axes.get_yticks().tolist() == [0, 1, 10]


def test_reconstructions__stand_below_their_images():
    images = np.stack([np.full((8, 8, 3), 10 * i, np.uint8) for i in range(5)])
    picture = reconstruction_grid(images, images + 100, columns=3, cell=8)
    middles = picture[GAP + 4 :: 8 + GAP, GAP + 4 :: 8 + GAP, 0]
    assert middles.tolist() == [[0, 10, 20], [100, 110, 120], [30, 40, 255], [130, 140, 255]]


def test_traversal__shows_where_a_swap_has_changed_the_image():
    original = np.full((8, 8, 3), 100, np.uint8)
    swaps = np.stack([original, original])
    swaps[0, 4:, :4] = 130
    swaps[1, :4, 4:] = 60
    constants = np.stack([np.full((8, 8, 3), value, np.uint8) for value in (7, 9)])
    picture = code_traversal([3, 5], constants, original, swaps, cell=8)[-3 * (8 + GAP) :]
    rows = [picture[r * 10 : r * 10 + 8, GAP:] for r in range(3)]
    columns = [[row[:, c * 10 : c * 10 + 8, 0] for c in range(3)] for row in rows]
    assert [set(cell.flatten()) for cell in columns[0]] == [{255}, {7}, {9}]
    assert (np.stack(columns[1]) == np.stack([original, *swaps])[..., 0]).all()
    change = np.zeros((3, 8, 8))
    change[1, 4:, :4], change[2, :4, 4:] = 60, 80
    assert (np.stack(columns[2]) == change).all()
