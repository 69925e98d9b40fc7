import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from beit_mm.registry import MODELS


@MODELS.register_module()
class PatchPixels(nn.Module):
    """The pixels of a patch as its features, in the layout of a teacher's.

    Args:
        normalize: Zero mean and unit variance within each patch (MAE's targets). Without it the
            pixels can be got back with :meth:`image`.
    """

    def __init__(self, patch_size: int, in_channels: int = 3, normalize: bool = False):
        super().__init__()
        self.patch_size = patch_size
        self.in_channels = in_channels
        self.normalize = normalize
        self.dims = in_channels * patch_size**2

    def forward(self, images: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
        """(B, C, H, W) in [0, 1] -> (B, N, dims), row by row; channel, row, column inside."""
        check_patches(self, images, grid)
        patches = F.unfold(images, self.patch_size, stride=self.patch_size).transpose(1, 2)
        if self.normalize:
            mean, var = patches.mean(-1, keepdim=True), patches.var(-1, keepdim=True)
            patches = (patches - mean) / (var + 1e-6).sqrt()
        return patches

    def image(self, patches: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B, N, dims) -> (B, C, H, W)."""
        size = (grid[0] * self.patch_size, grid[1] * self.patch_size)
        return F.fold(patches.transpose(1, 2), size, self.patch_size, stride=self.patch_size)


def check_patches(features: nn.Module, images: Tensor, grid: tuple[int, int] | None) -> None:
    """ValueError unless the images have the channels and the grid that are asked for."""
    name, size = type(features).__name__, features.patch_size
    if images.shape[1] != features.in_channels:
        raise ValueError(
            f'features.in_channels={features.in_channels} of {name}, but the images have '
            f'{images.shape[1]} channels; set in_channels={images.shape[1]}'
        )
    own = (images.shape[2] // size, images.shape[3] // size)
    if images.shape[2] % size or images.shape[3] % size or (grid and own != tuple(grid)):
        raise ValueError(
            f'features.patch_size={size} of {name} gives {own[0]} x {own[1]} patches of images of '
            f'{images.shape[2]} x {images.shape[3]} pixels (height x width), expected '
            f'{"a whole number" if grid is None else f"{grid[0]} x {grid[1]}"}; set it to the '
            "tokenizer's stride"
        )
