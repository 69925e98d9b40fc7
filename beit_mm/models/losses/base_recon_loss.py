from abc import abstractmethod

import torch.nn as nn
from torch import Tensor


class BaseReconLoss(nn.Module):
    """How far what a decoder draws is from the image, and what its maps mean.

    ``maps_per_channel`` is the number of decoder maps for each channel of the image: one value, or
    the parameters of a distribution.
    """

    maps_per_channel = 1

    def image(self, maps: Tensor) -> Tensor:
        """Decoder maps (B, C * maps_per_channel, H, W) -> images (B, C, H, W), about [0, 1]."""
        return (maps + 1) / 2

    @abstractmethod
    def forward(self, maps: Tensor, images: Tensor) -> Tensor:
        """Decoder maps, images (B, C, H, W) in [0, 1] -> mean over values, a scalar."""
