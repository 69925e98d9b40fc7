import torch
import torch.nn as nn
from torch import Tensor

from beit_mm.contracts import UserError
from beit_mm.registry import MODELS


class ConvBlock(nn.Module):
    """Residual block: ReLU, 3x3, ReLU, 1x1, added with ``gain``; (B, C, h, w) -> the same shape.

    A stack of n blocks takes gain 1/n, so that its output stays at the scale of its input.
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


@MODELS.register_module()
class ConvEncoder(nn.Sequential):
    """Images (B, in_channels, H, W) -> features (B, out_channels, H/stride, W/stride).

    Each halving is one strided 4x4 convolution, and the channels double towards ``width``. All
    residual blocks stand on the token grid, where a position costs 1/stride^2 of a pixel.

    Args:
        stride: Pixels per position and side, a power of two.
        width: Channels on the token grid; each higher resolution has half as many.
        num_blocks: Residual blocks on the token grid.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 8, width: int = 64, num_blocks=2
    ):
        widths = widths_of(stride, width)
        halvings = []
        for before, after in zip([in_channels, *widths], widths, strict=False):
            halvings += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.ReLU()]
        super().__init__(
            *halvings[:-1],  # every block starts with its own ReLU
            *conv_blocks(widths[-1], num_blocks),
            nn.ReLU(),
            nn.Conv2d(widths[-1], out_channels, 1),
        )
        self.to(memory_format=torch.channels_last)  # faster, with the same numbers


@MODELS.register_module()
class ConvDecoder(nn.Sequential):
    """Mirror of ConvEncoder: (B, in_channels, h, w) -> (B, out_channels, h*stride, w*stride)."""

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 8, width: int = 64, num_blocks=2
    ):
        widths = widths_of(stride, width)[::-1]
        doublings = []
        for before, after in zip(widths, [*widths[1:], out_channels], strict=True):
            doublings += [nn.ReLU(), nn.ConvTranspose2d(before, after, 4, stride=2, padding=1)]
        super().__init__(
            nn.Conv2d(in_channels, widths[0], 1), *conv_blocks(widths[0], num_blocks), *doublings
        )
        self.to(memory_format=torch.channels_last)


def conv_blocks(channels: int, number: int) -> list[nn.Module]:
    return [ConvBlock(channels, gain=1 / number) for _ in range(number)]


def halvings_of(stride: int) -> int:
    """Return the number of halvings that ``stride`` is; a UserError unless it is a power of two."""
    if stride < 2 or stride & (stride - 1):
        raise UserError(
            f'model.stride={stride}: expected a power of two >= 2; PatchEncoder and PatchDecoder '
            '(PatchDVAETokenizer) take any stride'
        )
    return stride.bit_length() - 1


def widths_of(stride: int, width: int) -> list[int]:
    """Return channels from the finest grid to the token grid, such as 32, 64, 128 at stride 8."""
    steps = halvings_of(stride)
    return [max(width >> (steps - 1 - i), 8) for i in range(steps)]
