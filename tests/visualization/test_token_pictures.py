import numpy as np
import pytest

from beit_mm.visualization.token_pictures import (
    GAP,
    LABEL,
    bar_heights,
    code_atlas,
    code_traversal,
    constant_ids,
    most_used,
    patches_of_code,
    reconstruction_grid,
    swapped_ids,
    to_rgb,
    usage_histogram,
)

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
    body = picture[:, LABEL:]
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


def test_most_used__without_those_that_are_not():
    assert most_used(np.array([1, 0, 7, 7, 0]), 9).tolist() == [2, 3, 0]
    assert most_used(np.array([1, 0, 7, 7, 0]), 1).tolist() == [2]


def heights_in(picture, plot):
    """Of the blue columns, standing on the last line but the frame."""
    area = picture[-plot - GAP : -GAP]
    blue = (area == (31, 119, 180)).all(-1)
    assert (np.diff(blue.astype(int), axis=0) >= 0).all()  # nothing floats
    return blue.sum(0)


def test_histogram__heights_are_proportional_to_log_counts_and_sorted():
    counts = np.array([7, 0, 63, 1])  # log2(1 + count): 3, 0, 6, 1
    assert bar_heights(counts, 60).tolist() == [60, 30, 10, 0]
    columns = heights_in(usage_histogram(counts, width=8, height=60), 60)
    assert columns.tolist() == [60, 60, 30, 30, 10, 10, 0, 0]


def test_histogram__more_codes_than_pixels():
    counts = np.random.default_rng(0).integers(0, 1000, 4000)
    columns = heights_in(usage_histogram(counts, width=100, height=80), 80)
    expected = 80 * np.log1p(np.sort(counts)[::-1][::40]) / np.log1p(counts.max())
    np.testing.assert_allclose(columns, expected, atol=0.51)


def test_histogram__no_tokens_no_bars():
    assert bar_heights(np.zeros(3, int), 20).tolist() == [0, 0, 0]
    assert not heights_in(usage_histogram(np.zeros(5, int), width=10, height=20), 20).any()


def test_to_rgb__any_channels():
    images = np.random.default_rng(0).random((2, 5, 3, 4)).astype(np.float32) * 1.5 - 0.25
    expected = np.clip(images, 0, 1).transpose(0, 2, 3, 1) * 255
    assert np.abs(to_rgb(images) - expected[..., :3]).max() <= 0.5
    for channels in (1, 2):
        assert np.abs(to_rgb(images[:, :channels]) - expected[..., :1]).max() <= 0.5


def test_to_rgb__brightened():
    images = np.float32([0, 0.1, 0.25, 0.5]).reshape(1, 1, 2, 2)
    assert to_rgb(images, white=0.25)[0, ..., 0].tolist() == [[0, 102], [255, 255]]


def test_reconstructions__stand_below_their_images():
    images = np.stack([np.full((8, 8, 3), 10 * i, np.uint8) for i in range(5)])
    picture = reconstruction_grid(images, images + 100, columns=3, cell=8)
    middles = picture[GAP + 4 :: 8 + GAP, GAP + 4 :: 8 + GAP, 0]
    assert middles.tolist() == [[0, 10, 20], [100, 110, 120], [30, 40, 255], [130, 140, 255]]


def test_traversal__ids():
    assert constant_ids([4, 1], (2, 3)).tolist() == [[[4] * 3] * 2, [[1] * 3] * 2]
    ids = np.arange(6).reshape(2, 3)
    swapped = swapped_ids(ids, [9, 8], (1, 0))
    assert swapped[:, 1, 0].tolist() == [9, 8]
    swapped[:, 1, 0] = ids[1, 0]
    assert (swapped == ids).all() and ids[1, 0] == 3


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
