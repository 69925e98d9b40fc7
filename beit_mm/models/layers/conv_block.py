import torch.nn as nn
from torch import Tensor


class ConvBlock(nn.Module):
    """Residual block of the dVAE: (B, C, h, w) -> the same shape.

    ReLU, 3x3, ReLU, 1x1, added with ``gain``. A stack of n blocks takes gain 1/n, so that its
    output stays at the scale of its input whatever the depth.
    """

    def __init__(self, channels: int, gain: float = 1.0):
        super().__init__()
        self.gain = gain
        self.branch = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.gain * self.branch(x)


def _blocks(channels: int, number: int) -> list[nn.Module]:
    return [ConvBlock(channels, gain=1 / number) for _ in range(number)]


def _widths(stride: int, width: int) -> list[int]:
    """Channels from the finest grid to the token grid, for example 32, 64, 128 at stride 8."""
    steps = stride.bit_length() - 1
    return [max(width >> (steps - 1 - i), 8) for i in range(steps)]


def conv_encoder(
    in_channels: int, out_channels: int, stride: int, width: int, num_blocks: int
) -> nn.Sequential:
    """Images (B, in_channels, H, W) -> features (B, out_channels, H/stride, W/stride).

    Each halving is one strided 4x4 convolution, and the channels double towards ``width``. All
    residual blocks stand on the token grid, where a position costs 1/stride^2 of a pixel.

    Args:
        stride: Pixels per position, a power of two, at least 2.
        width: Channels on the token grid.
    """
    widths = _widths(stride, width)
    halvings = []
    for before, after in zip([in_channels, *widths], widths, strict=False):
        halvings += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(
        *halvings[:-1],  # every block starts with its own ReLU
        *_blocks(widths[-1], num_blocks),
        nn.ReLU(),
        nn.Conv2d(widths[-1], out_channels, 1),
    )


def conv_decoder(
    in_channels: int, out_channels: int, stride: int, width: int, num_blocks: int
) -> nn.Sequential:
    """The encoder's mirror: (B, in_channels, h, w) -> (B, out_channels, h*stride, w*stride)."""
    widths = _widths(stride, width)[::-1]
    doublings = []
    for before, after in zip(widths, [*widths[1:], out_channels], strict=True):
        doublings += [nn.ReLU(), nn.ConvTranspose2d(before, after, 4, stride=2, padding=1)]
    return nn.Sequential(
        nn.Conv2d(in_channels, widths[0], 1), *_blocks(widths[0], num_blocks), *doublings
    )
