import torch.nn as nn

from beit_mm.models.layers.conv_block import ConvBlock


def patch_encoder(
    in_channels: int, out_channels: int, stride: int, width: int, num_blocks: int
) -> nn.Sequential:
    """Images (B, in_channels, H, W) -> features (B, out_channels, H/stride, W/stride).

    One linear map of each patch, then everything on the token grid. An output depends on its own
    patch and on ``num_blocks`` patches around it to every side.

    Args:
        stride: Pixels per position, any number.
        width: Channels on the token grid.
    """
    return nn.Sequential(
        nn.Conv2d(in_channels, width, stride, stride=stride),
        *_blocks(width, num_blocks),
        nn.ReLU(),
        nn.Conv2d(width, out_channels, 1),
    )


def patch_decoder(
    in_channels: int, out_channels: int, stride: int, width: int, num_blocks: int
) -> nn.Sequential:
    """The encoder's mirror: (B, in_channels, h, w) -> (B, out_channels, h*stride, w*stride)."""
    return nn.Sequential(
        nn.Conv2d(in_channels, width, 1),
        *_blocks(width, num_blocks),
        nn.ReLU(),
        nn.Conv2d(width, out_channels * stride**2, 1),
        nn.PixelShuffle(stride),
    )


def _blocks(width: int, number: int) -> list[nn.Module]:
    return [ConvBlock(width, gain=1 / number) for _ in range(number)]
