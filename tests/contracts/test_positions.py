import numpy as np
import pytest
import torch
from scipy.interpolate import RectBivariateSpline

from beit_mm.contracts.positions import (
    cubic_spline_matrix,
    geometric_positions,
    relative_position_index,
    resize_table,
    square_grid,
    table_length,
)


def test_index__same_offset_same_entry():
    h, w = 3, 4
    index = relative_position_index((h, w))
    places = [(y, x) for y in range(h) for x in range(w)]
    entry_of_offset = {}
    for i, (y0, x0) in enumerate(places, start=1):
        for j, (y1, x1) in enumerate(places, start=1):
            entry = entry_of_offset.setdefault((y0 - y1, x0 - x1), index[i, j].item())
            assert index[i, j] == entry
    assert sorted(entry_of_offset.values()) == list(range(table_length((h, w)) - 3))
    assert (index[0, 1:] == table_length((h, w)) - 3).all()
    assert (index[1:, 0] == table_length((h, w)) - 2).all()
    assert index[0, 0] == table_length((h, w)) - 1


@pytest.mark.parametrize(
    ('source', 'target'), [((4, 4), (6, 6)), ((5, 3), (7, 8)), ((7, 7), (4, 5))]
)
def test_geometric_resize__equals_scipy_splines(source, target):
    table = torch.randn(table_length(source), 2, dtype=torch.float64)
    resized = resize_table(table, source, target)
    shape = [2 * side - 1 for side in source]
    places = [geometric_positions(side, t).numpy() for side, t in zip(source, target, strict=True)]
    wanted = [
        np.clip(np.arange(-(t - 1), t), place[0], place[-1])
        for t, place in zip(target, places, strict=True)
    ]
    for head in range(2):
        image = table[:-3, head].numpy().reshape(shape)
        reference = RectBivariateSpline(*places, image, kx=3, ky=3, s=0)(*wanted)
        assert np.allclose(resized[:-3, head].numpy(), reference.ravel(), atol=1e-10)
    assert torch.equal(resized[-3:], table[-3:])


def test_geometric_positions__reach_the_target_and_grow_geometrically():
    positions = geometric_positions(14, 32)
    assert positions[-1].item() == pytest.approx(31, abs=1e-3)
    assert torch.equal(positions, -positions.flip(0))
    ratios = positions[14:].diff()[1:] / positions[14:].diff()[:-1]
    assert torch.allclose(ratios, ratios[0].expand_as(ratios))


def test_cubic_spline_matrix__exact_for_cubics():
    x = torch.tensor([-3.0, -1.2, 0.0, 0.7, 2.0, 4.0], dtype=torch.float64)
    t = torch.linspace(-3, 4, 29, dtype=torch.float64)
    cubic = lambda v: 0.3 * v**3 - v**2 + 2 * v - 1  # noqa: E731
    assert torch.allclose(cubic_spline_matrix(x, t) @ cubic(x), cubic(t))


@pytest.mark.parametrize('method', ['geometric', 'bicubic'])
def test_resize__constant_stays_and_gradient_flows(method):
    table = torch.full((table_length((3, 3)), 2), 0.7, requires_grad=True)
    resized = resize_table(table, (3, 3), (5, 4), method)
    assert resized.shape == (table_length((5, 4)), 2)
    assert torch.allclose(resized, torch.full_like(resized, 0.7), atol=1e-6)
    resized.sum().backward()
    assert table.grad.abs().min() > 0


def test_resize__unknown_method():
    with pytest.raises(ValueError, match='geometric'):
        resize_table(torch.zeros(table_length((2, 2)), 1), (2, 2), (3, 3), 'linear')


def test_square_grid():
    assert square_grid(table_length((14, 14))) == (14, 14)
    assert square_grid(table_length((7, 5))) is None
