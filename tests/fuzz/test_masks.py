"""Masks on any grid."""

import random

import numpy as np
from fuzzing import prop, seeds
from hypothesis import strategies as st

from beit_mm.datasets.transforms import BlockwiseMask, RandomMask

grids = st.tuples(st.integers(1, 20), st.integers(1, 20))


def drawn(transform, seed):
    random.seed(seed)
    mask = transform.transform({})['mask']
    assert mask.shape == transform.grid and mask.dtype == bool
    return mask


@st.composite
def settings(draw):
    h, w = draw(grids)
    largest = max(h - 1, 1) * max(w - 1, 1)
    smallest = draw(st.integers(1, largest))
    ratio = sorted([draw(st.floats(0.05, 20)), draw(st.floats(0.05, 20))])
    return dict(
        grid=(h, w),
        num_masked=draw(st.integers(1, h * w)),
        min_block=smallest,
        max_block=draw(st.none() | st.integers(smallest, h * w)),
        ratio=ratio,
    )


@prop(few=50, options=settings(), seed=seeds)
def test_blockwise__exactly(options, seed):
    mask = drawn(BlockwiseMask(mode='exactly', **options), seed)
    assert mask.sum() == options['num_masked']


@prop(few=50, options=settings(), seed=seeds)
def test_blockwise__at_most_and_the_seed_decides(options, seed):
    transform = BlockwiseMask(**options)
    mask = drawn(transform, seed)
    assert mask.sum() <= options['num_masked']
    assert np.array_equal(drawn(transform, seed), mask)


@prop(few=40, options=settings(), seed=seeds)
def test_blockwise__consists_of_blocks_within_the_limits(options, seed):
    """Each call draws one rectangle, of the sizes and shapes that the options allow."""
    transform = BlockwiseMask(**options)
    draw = transform._draw_block

    def checked(hidden, most):
        patches = draw(hidden, most)
        new = patches.bit_count()
        assert not patches & hidden and new <= most
        if new and not hidden:
            h, w = transform.grid
            mask = np.array([patches >> n & 1 for n in range(h * w)], bool).reshape(h, w)
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
            assert mask[rows[0] :, columns[0] :][:height, :width].all()  # a full rectangle
            assert new == height * width
            assert height <= transform.limits[0] and width <= transform.limits[1]
            # each side is rounded
            low, high = sorted([options['min_block'], most])
            least, greatest = options['ratio']
            assert (height - 0.5) ** 2 <= high * greatest and (width - 0.5) ** 2 * least <= high
            assert (height + 0.5) * (width + 0.5) >= low
            assert (height - 0.5) * (width - 0.5) <= high
        return patches

    transform._draw_block = checked
    drawn(transform, seed)


@prop(few=40, grid=grids, part=st.floats(0, 1), seed=seeds)
def test_random__exactly_and_the_seed_decides(grid, part, seed):
    count = max(1, round(part * grid[0] * grid[1]))
    transform = RandomMask(grid, num_masked=count)
    mask = drawn(transform, seed)
    assert mask.sum() == count
    assert np.array_equal(drawn(transform, seed), mask)


@prop(few=40, grid=grids, ratio=st.floats(0.001, 1))
def test_ratio__rounds_to_patches_or_refuses(grid, ratio):
    count = round(ratio * grid[0] * grid[1])
    try:
        got = RandomMask(grid, mask_ratio=ratio).num_masked
    except ValueError as error:
        assert count == 0 and 'mask_ratio' in str(error)
    else:
        assert got == count > 0


def test_blockwise__no_side_is_preferred():
    """Mirrored and transposed masks are as likely: the shares of a square grid are symmetric."""
    transform = BlockwiseMask(6, num_masked=12, min_block=2)
    random.seed(0)
    shares = np.mean([transform.sample() for _ in range(3000)], axis=0)
    for other in (shares[::-1], shares[:, ::-1], shares.T):
        assert np.abs(shares - other).max() < 0.06
