import torch
import torch.nn as nn
from torch import Tensor

from beit_mm.models.autoencoders.conv_autoencoder import halvings_of
from beit_mm.registry import MODELS


class DALLEPytorchBlock(nn.Module):
    """Residual block of DALLE-pytorch: 3x3, ReLU, 3x3, ReLU, 1x1, added to the input."""

    def __init__(self, channels: int):
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


@MODELS.register_module()
class DALLEPytorchEncoder(nn.Sequential):
    """Images (B, in_channels, H, W) -> logits (B, out_channels, H/stride, W/stride).

    4x4 convolutions of stride 2, each with a ReLU, all of them ``width`` wide; then the residual
    blocks and a 1x1 convolution.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 8, width: int = 64, num_blocks=1
    ):
        halvings = []
        for step in range(halvings_of(stride)):
            halvings += [nn.Conv2d(width if step else in_channels, width, 4, 2, 1), nn.ReLU()]
        blocks = [DALLEPytorchBlock(width) for _ in range(num_blocks)]
        super().__init__(*halvings, *blocks, nn.Conv2d(width, out_channels, 1))
        self.to(memory_format=torch.channels_last)  # faster, with the same numbers


@MODELS.register_module()
class DALLEPytorchDecoder(nn.Sequential):
    """Mirror of the encoder: (B, in_channels, h, w) -> (B, out_channels, h*stride, w*stride).

    With residual blocks a 1x1 convolution first brings the codes to their width.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 8, width: int = 64, num_blocks=1
    ):
        blocks = [DALLEPytorchBlock(width) for _ in range(num_blocks)]
        if blocks:
            blocks.insert(0, nn.Conv2d(in_channels, width, 1))
        before = width if blocks else in_channels
        doublings = []
        for step in range(halvings_of(stride)):
            doublings += [nn.ConvTranspose2d(width if step else before, width, 4, 2, 1), nn.ReLU()]
        super().__init__(*blocks, *doublings, nn.Conv2d(width, out_channels, 1))
        self.to(memory_format=torch.channels_last)
