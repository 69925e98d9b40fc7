from abc import abstractmethod

import torch.nn as nn
from torch import Tensor


class FeatureExtractor(nn.Module):
    """Base of frozen functions of an image patch: targets of VQ-KD, k-means and regression.

    Attributes:
        dims: Channels of a feature vector.
        in_channels: Channels of the images; None takes any.
        can_draw: :meth:`image` turns features back into pixels.
        is_trained: Its constructor loads weights that somebody has trained.
    """

    dims: int
    in_channels: int | None = None
    can_draw: bool = False
    is_trained: bool = False

    @abstractmethod
    def forward(self, images: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
        """Compute features of images (B, C, H, W) in [0, 1].

        Args:
            grid: Patches (h, w) that are expected; None takes the extractor's own.

        Returns:
            (B, h, w, dims)

        Raises:
            UserError: The images have other channels, or another grid.
        """

    def image(self, features: Tensor) -> Tensor:
        """Return images (B, C, H, W) of features (B, h, w, dims)."""
        raise NotImplementedError(f'{type(self).__name__} has no image()')


def has_drawn_weights(module: nn.Module) -> bool:
    """Return whether there are parameters beside those of features that come trained."""
    features = [part for part in module.modules() if isinstance(part, FeatureExtractor)]
    trained = {id(w) for part in features if part.is_trained for w in part.parameters()}
    return any(id(weight) not in trained for weight in module.parameters())
