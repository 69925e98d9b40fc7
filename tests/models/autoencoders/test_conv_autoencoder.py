import pytest
import torch

from beit_mm.models import ConvDecoder, ConvEncoder
from beit_mm.models.autoencoders.conv_autoencoder import ConvBlock


def variance_ratio(number, gain):
    """Of the output of a stack of ``number`` blocks to its input; weights that keep variance."""
    x = torch.randn(4, 16, 8, 8)
    blocks = torch.nn.Sequential(*[ConvBlock(16, gain) for _ in range(number)])
    for module in blocks.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity='relu')
            torch.nn.init.zeros_(module.bias)
    return (blocks(x).var() / x.var()).item()


@torch.no_grad()
def test_variance__stays_bounded_with_depth():
    ratios = [variance_ratio(number, gain=1 / number) for number in (1, 4, 16, 64)]
    assert max(ratios) < 6
    assert max(ratios[1:]) < 1.5 * ratios[1]
    assert variance_ratio(64, gain=1.0) > 1e6  # what the gain prevents


@torch.no_grad()
@pytest.mark.parametrize('build', [ConvEncoder, ConvDecoder])
def test_stacks__scale_their_blocks_by_their_number(build):
    for number in (1, 2, 8):
        stack = build(3, 5, stride=4, width=8, num_blocks=number)
        blocks = [module for module in stack if isinstance(module, ConvBlock)]
        assert [block.gain for block in blocks] == [1 / number] * number


@torch.no_grad()
def test_block__is_identity_plus_gain_times_branch():
    x = torch.randn(2, 4, 5, 3)
    block = ConvBlock(4, gain=0.25)
    torch.testing.assert_close(block(x) - x, 0.25 * block.branch(x))
    silent = ConvBlock(4, gain=0.0)
    assert torch.equal(silent(x), x)


@torch.no_grad()
@pytest.mark.parametrize('stride', [2, 4, 8, 16])
@pytest.mark.parametrize('grid', [(1, 1), (3, 2)])
@pytest.mark.parametrize('num_blocks', [0, 2])
def test_sizes__by_stride(stride, grid, num_blocks):
    h, w = grid
    sizes = dict(stride=stride, width=16, num_blocks=num_blocks)
    features = ConvEncoder(1, 7, **sizes)(torch.rand(2, 1, h * stride, w * stride))
    assert features.shape == (2, 7, h, w)
    assert ConvDecoder(7, 5, **sizes)(features).shape == (2, 5, h * stride, w * stride)


@pytest.mark.parametrize('stride, widths', [(2, [64]), (8, [16, 32, 64]), (32, [8, 8, 16, 32, 64])])
def test_widths__double_towards_the_token_grid(stride, widths):
    encoder = ConvEncoder(3, 9, stride=stride, width=64, num_blocks=1)
    decoder = ConvDecoder(9, 3, stride=stride, width=64, num_blocks=1)
    halvings = [m for m in encoder if isinstance(m, torch.nn.Conv2d) and m.stride == (2, 2)]
    doublings = [m for m in decoder if isinstance(m, torch.nn.ConvTranspose2d)]
    assert [m.out_channels for m in halvings] == widths
    assert [m.in_channels for m in doublings] == widths[::-1]


def test_every_weight_has_a_gradient_at_any_depth():
    stack = torch.nn.Sequential(
        ConvEncoder(3, 6, stride=4, width=16, num_blocks=12),
        ConvDecoder(6, 3, stride=4, width=16, num_blocks=12),
    )
    stack(torch.rand(2, 3, 16, 16)).square().mean().backward()
    for name, parameter in stack.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.any(), name
