from abc import abstractmethod

import torch.nn as nn
from torch import Tensor


class BaseReconLoss(nn.Module):
    """Base of the distances between a decoder's output and the image.

    Attributes:
        maps_per_channel: Decoder maps for each channel of the image: one value, or the parameters
            of a distribution.
    """

    maps_per_channel = 1

    def image(self, maps: Tensor) -> Tensor:
        """Return images (B, C, H, W), about [0, 1], of maps (B, C * maps_per_channel, H, W)."""
        return (maps + 1) / 2

    @abstractmethod
    def forward(self, maps: Tensor, images: Tensor) -> Tensor:
        """Return the mean over the values of images (B, C, H, W) in [0, 1], a scalar."""
