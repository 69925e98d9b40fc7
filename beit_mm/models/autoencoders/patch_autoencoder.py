import torch.nn as nn

from beit_mm.models.autoencoders.conv_autoencoder import conv_blocks
from beit_mm.registry import MODELS


@MODELS.register_module()
class PatchEncoder(nn.Sequential):
    """Images (B, in_channels, H, W) -> features (B, out_channels, H/stride, W/stride).

    One linear map of each patch, then residual blocks on the token grid. An output depends on its
    own patch and on ``num_blocks`` patches around it to every side.

    Args:
        stride: Pixels per position and side, any number.
        width: Channels on the token grid.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 8, width: int = 64, num_blocks=2
    ):
        super().__init__(
            nn.Conv2d(in_channels, width, stride, stride=stride),
            *conv_blocks(width, num_blocks),
            nn.ReLU(),
            nn.Conv2d(width, out_channels, 1),
        )


@MODELS.register_module()
class PatchDecoder(nn.Sequential):
    """Mirror of PatchEncoder: (B, in_channels, h, w) -> (B, out_channels, h*stride, w*stride)."""

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 8, width: int = 64, num_blocks=2
    ):
        super().__init__(
            nn.Conv2d(in_channels, width, 1),
            *conv_blocks(width, num_blocks),
            nn.ReLU(),
            nn.Conv2d(width, out_channels * stride**2, 1),
            nn.PixelShuffle(stride),
        )
