"""Position tables between any two patch grids."""

import torch
from fuzzing import prop, seeds
from hypothesis import strategies as st

from beit_mm.contracts.positions import (
    relative_position_index,
    resize_pos_embed,
    resize_table,
    table_length,
)
from beit_mm.models.layers.rel_pos_bias import gather_bias

grids = st.tuples(st.integers(1, 16), st.integers(1, 16))
methods = st.sampled_from(['geometric', 'bicubic'])


def table(grid, seed):
    return torch.randn(table_length(grid), 3, generator=torch.Generator().manual_seed(seed))


@prop(few=40, source=grids, target=grids, method=methods, seed=seeds)
def test_table__identity_constants_and_class_token(source, target, method, seed):
    values = table(source, seed)
    assert torch.equal(resize_table(values, source, source, method), values)
    got = resize_table(values, source, target, method)
    assert got.shape == (table_length(target), 3) and got.isfinite().all()
    assert torch.equal(got[-3:], values[-3:])
    constant = values[:1].expand(len(values), -1)
    expected = values[:1].expand(len(got), -1)
    assert torch.allclose(resize_table(constant, source, target, method), expected, atol=1e-4)


@prop(few=40, source=grids, target=grids, method=methods, seed=seeds)
def test_table__linear_and_mirrored(source, target, method, seed):
    """Resizing is a linear map that knows no left and right."""
    a, b = table(source, seed), table(source, seed + 1)

    def resize(values):
        return resize_table(values, source, target, method)

    assert torch.allclose(resize(a + 2 * b), resize(a) + 2 * resize(b), atol=1e-3)
    mirrored = torch.cat([a[:-3].flip(0), a[-3:]])  # both axes
    got = resize(a)
    assert torch.allclose(resize(mirrored)[:-3], got[:-3].flip(0), atol=1e-3)


@prop(few=40, source=grids, target=grids, seed=seeds)
def test_pos_embed__identity_and_constants(source, target, seed):
    numbers = torch.Generator().manual_seed(seed)
    values = torch.randn(1, 1 + source[0] * source[1], 4, generator=numbers)
    assert torch.equal(resize_pos_embed(values, source, source), values)
    got = resize_pos_embed(values, source, target)
    assert got.shape == (1, 1 + target[0] * target[1], 4)
    assert torch.equal(got[:, 0], values[:, 0])
    constant = values[:, :1].expand_as(values)
    same = resize_pos_embed(constant, source, target)
    assert torch.allclose(same, values[:, :1].expand_as(same), atol=1e-5)


@prop(few=30, grid=st.tuples(st.integers(1, 6), st.integers(1, 6)), seed=seeds)
def test_bias__depends_on_the_offset_alone(grid, seed):
    h, w = grid
    bias = gather_bias(table(grid, seed), relative_position_index(grid))[0]
    patches = bias[:, 1:, 1:].unflatten(1, grid).unflatten(3, grid)  # heads, y, x, y', x'
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            pairs = [
                patches[:, y, x, y + dy, x + dx]
                for y in range(h)
                for x in range(w)
                if 0 <= y + dy < h and 0 <= x + dx < w
            ]
            assert all(torch.equal(pair, pairs[0]) for pair in pairs)
