import math
import random
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beit_mm.contracts import UserError
from beit_mm.datasets.transforms import BlockwiseMask
from beit_mm.registry import TRANSFORMS


def reference(rng, height, width, wanted, min_block=16, low=0.3):
    """The published algorithm over sets of positions, with a random generator of its own."""
    masked = set()
    while len(masked) < wanted:
        room = wanted - len(masked)
        for _ in range(10):
            area = min_block + (room - min_block) * rng.random()
            aspect = low ** (1 - 2 * rng.random())
            rows = int(np.rint(np.sqrt(area * aspect)))
            columns = int(np.rint(np.sqrt(area / aspect)))
            if rows >= height or columns >= width:
                continue
            top, left = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
            block = {(top + y, left + x) for y in range(rows) for x in range(columns)}
            if 1 <= len(block - masked) <= room:
                masked |= block
                break
        else:
            break
    mask = np.zeros((height, width), bool)
    for position in masked:
        mask[position] = True
    return mask


def draw(transform, number, seed=0):
    random.seed(seed)
    return np.stack([transform({})['mask'] for _ in range(number)])


@pytest.fixture(scope='module')
def masks():
    return draw(BlockwiseMask(14, num_masked=75), 2000)


def test_at_most__counts(masks):
    counts = masks.sum((1, 2))
    assert masks.dtype == bool and masks.shape == (2000, 14, 14)
    assert abs(counts.mean() - 74.49) < 0.2
    assert counts.min() >= 60 and counts.max() == 75
    assert abs((counts == 75).mean() - 0.675) < 0.05


def test_at_most__borders_and_center(masks):
    where = masks.mean(0)
    for border in (where[0], where[-1], where[:, 0], where[:, -1]):
        assert abs(border.mean() - 0.135) < 0.02
    assert where[6:8, 6:8].min() > 0.65


def test_at_most__distribution_equals_reference(masks):
    rng = np.random.default_rng(0)
    expected = np.stack([reference(rng, 14, 14, 75) for _ in range(1000)])
    assert np.abs(masks.mean(0) - expected.mean(0)).max() < 0.075  # 4 sigma of a cell
    # Blocks, not just their positions: how often neighbors agree
    for axis in (1, 2):
        ours, theirs = (np.diff(m, axis=axis).mean() for m in (masks, expected))
        assert abs(ours - theirs) < 0.005


def test_at_most__distribution_equals_reference__rectangular():
    rng = np.random.default_rng(0)
    ours = draw(BlockwiseMask((6, 11), num_masked=26, min_block=4), 1000)
    theirs = np.stack([reference(rng, 6, 11, 26, min_block=4) for _ in range(1000)])
    assert np.abs(ours.mean(0) - theirs.mean(0)).max() < 0.09  # 4 sigma of a cell
    assert abs(ours.sum((1, 2)).mean() - theirs.sum((1, 2)).mean()) < 0.15


@pytest.mark.parametrize('grid', [(8, 8), (14, 14), (6, 11), (11, 6), (40, 30)])
def test_same_draws_give_the_masks_of_the_reference(grid):
    wanted, min_block = grid[0] * grid[1] // 3, 4
    ours = draw(BlockwiseMask(grid, num_masked=wanted, min_block=min_block), 200)
    rng = SimpleNamespace(random=random.random, integers=random.randrange)
    random.seed(0)
    assert all(np.array_equal(mask, reference(rng, *grid, wanted, min_block)) for mask in ours)


def test_exactly__is_exact_and_almost_the_same_blocks(masks):
    exact = draw(BlockwiseMask(14, num_masked=75, mode='exactly'), 2000)
    assert (exact.sum((1, 2)) == 75).all()
    assert np.abs(exact.mean(0) - masks.mean(0)).max() < 0.06


def test_masks_are_blocks_not_single_patches(masks):
    """Of 75 patches, blocks leave far fewer with a visible neighbor than random ones do."""
    changes = np.diff(masks, axis=1).mean()
    random_changes = 2 * 0.38 * 0.62
    assert changes < 0.5 * random_changes


@settings(max_examples=100, deadline=None)
@given(
    grid=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    part=st.floats(0.01, 1),
    block=st.floats(0, 1),
    mode=st.sampled_from(['at_most', 'exactly']),
    seed=st.integers(0, 2**16),
)
def test_any_grid_and_number_ends(grid, part, block, mode, seed):
    patches = grid[0] * grid[1]
    wanted = max(1, round(part * patches))
    min_block = 1 + int(block * (max(grid[0] - 1, 1) * max(grid[1] - 1, 1) - 1))
    random.seed(seed)
    mask = BlockwiseMask(grid, wanted, mode=mode, min_block=min_block)({})['mask']
    assert mask.shape == grid
    assert mask.sum() == wanted if mode == 'exactly' else mask.sum() <= wanted


@pytest.mark.parametrize('mode', ['at_most', 'exactly'])
@pytest.mark.parametrize('grid', [(5, 9), (9, 5), (1, 20), (7, 7)])
def test_every_patch_is_reached(grid, mode):
    patches = grid[0] * grid[1]
    where = draw(BlockwiseMask(grid, patches // 3, mode=mode, min_block=2), 500).mean(0)
    assert where.min() > 0.05


def test_all_patches__ends_and_covers_nearly_all():
    where = draw(BlockwiseMask(6, mask_ratio=1.0, min_block=1), 50)
    assert where.sum((1, 2)).mean() > 30
    assert draw(BlockwiseMask(6, mask_ratio=1.0, mode='exactly'), 5).all()


def test_max_block_bounds_the_blocks():
    masks = draw(BlockwiseMask(20, num_masked=4, min_block=4, max_block=4, ratio=(1, 1)), 50)
    for mask in masks:
        rows, columns = np.nonzero(mask)
        assert np.ptp(rows) == np.ptp(columns) == 1  # a 2 x 2 block
    small = draw(BlockwiseMask(20, num_masked=100, min_block=4, max_block=4), 100)
    large = draw(BlockwiseMask(20, num_masked=100, min_block=64), 100)
    assert np.diff(small, axis=1).mean() > 1.5 * np.diff(large, axis=1).mean()


def test_ratio_is_height_over_width():
    masks = draw(BlockwiseMask(20, num_masked=16, min_block=16, ratio=(4, 4)), 20)
    for mask in masks:
        rows, columns = np.nonzero(mask)
        assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (8, 2)


@pytest.mark.parametrize('grid', [(4, 10), (10, 4)])
def test_no_block_spans_the_grid(grid):
    aspect = 4 if grid[0] == 4 else 1 / 4  # blocks of 4 x 1 or 1 x 4
    one_block = dict(num_masked=4, min_block=4, ratio=(aspect, aspect))
    assert draw(BlockwiseMask(grid, **one_block), 20).sum((1, 2)).max() == 1  # no block fits
    wider = grid[0] + 1, grid[1] + 1
    assert (draw(BlockwiseMask(wider, **one_block), 20).sum((1, 2)) == 4).all()


def test_mask_ratio_is_a_part_of_the_grid():
    transform = TRANSFORMS.build(
        dict(type='BlockwiseMask', grid=(14, 14), mask_ratio=0.4, mode='exactly')
    )
    assert (draw(transform, 20).sum((1, 2)) == 78).all()


def test_seed_repeats_the_mask():
    transform = BlockwiseMask(8, num_masked=26, mode='exactly')
    assert np.array_equal(draw(transform, 5, seed=1), draw(transform, 5, seed=1))
    assert not np.array_equal(draw(transform, 5, seed=1), draw(transform, 5, seed=2))


@pytest.mark.parametrize(
    'config, key',
    [
        (dict(grid=0, num_masked=1), r'\.grid'),
        (dict(grid=(4, 4, 4), num_masked=1), r'\.grid'),
        (dict(grid=4.0, num_masked=1), r'\.grid'),
        (dict(grid=14), 'num_masked=None and mask_ratio=None'),
        (dict(grid=14, num_masked=75, mask_ratio=0.4), 'num_masked=75 and mask_ratio=0.4'),
        (dict(grid=14, num_masked=0), r'\.num_masked'),
        (dict(grid=14, num_masked=-3), r'\.num_masked'),
        (dict(grid=14, num_masked=197), r'\.num_masked=197.*196'),
        (dict(grid=14, num_masked=0.4), r'\.num_masked'),
        (dict(grid=14, mask_ratio=0.0), r'\.mask_ratio'),
        (dict(grid=14, mask_ratio=40), r'\.mask_ratio'),
        (dict(grid=14, mask_ratio=math.nan), r'\.mask_ratio'),
        (dict(grid=14, mask_ratio=0.001), r'\.mask_ratio'),
        (dict(grid=14, num_masked=75, mode='exact'), r'\.mode'),
        (dict(grid=14, num_masked=75, min_block=0), r'\.min_block'),
        (dict(grid=4, num_masked=6), r'\.min_block=16.*3 x 3'),
        (dict(grid=14, num_masked=75, max_block=8), r'\.max_block'),
        (dict(grid=14, num_masked=75, ratio=(0, 1)), r'\.ratio'),
        (dict(grid=14, num_masked=75, ratio=0.3), r'\.ratio'),
    ],
)
def test_wrong_config_is_named(config, key):
    with pytest.raises(UserError, match=f'BlockwiseMask.*{key}'):
        BlockwiseMask(**config)
