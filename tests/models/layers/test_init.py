import pytest
import torch
import torch.nn as nn
from mmpretrain.models.utils import build_2d_sincos_position_embedding
from scipy.stats import kstest, truncnorm

from beit_mm.models.layers.init import init_linear_and_norm, sincos_positions, truncated_normal_


def test_truncated_normal__has_the_distribution():
    drawn = truncated_normal_(torch.empty(20000), std=0.02)
    assert drawn.std().item() == pytest.approx(0.0108, rel=0.02)
    assert kstest(drawn.numpy(), truncnorm(-1, 1, scale=0.02).cdf).pvalue > 1e-3


@pytest.mark.parametrize('layer', [nn.Linear(40, 50), nn.Conv2d(10, 50, 2)])
def test_weights_are_drawn_and_biases_zero(layer):
    nn.init.constant_(layer.weight, 9.0)
    nn.init.constant_(layer.bias, 9.0)
    init_linear_and_norm(layer, std=0.5)
    assert 0.4 < layer.weight.abs().max() <= 0.5
    assert not layer.bias.any()


def test_norm_starts_as_identity_and_other_modules_are_left():
    norm, other = nn.LayerNorm(4), nn.BatchNorm2d(4)
    for module in (norm, other):
        nn.init.constant_(module.weight, 9.0)
        nn.init.constant_(module.bias, 9.0)
    nn.Sequential(norm, other, nn.Linear(2, 2, bias=False)).apply(init_linear_and_norm)
    assert norm.weight.eq(1).all() and norm.bias.eq(0).all()
    assert other.weight.eq(9).all() and other.bias.eq(9).all()


@pytest.mark.parametrize('side, dims', [(3, 8), (8, 128)])
def test_sincos_positions__equal_mmpretrains(side, dims):
    expected = build_2d_sincos_position_embedding(side, dims)[0]
    torch.testing.assert_close(sincos_positions((side, side), dims), expected)


@pytest.mark.parametrize('dims', [8, 9, 11])
def test_sincos_positions__of_a_wider_grid_are_in_order_of_rows(dims):
    found = sincos_positions((2, 3), dims).unflatten(0, (2, 3))
    square = sincos_positions((3, 3), dims).unflatten(0, (3, 3))
    torch.testing.assert_close(found, square[:2])
    assert found.shape == (2, 3, dims) and not found[..., 8:].any()
    assert len(found.flatten(0, 1).unique(dim=0)) == 6
