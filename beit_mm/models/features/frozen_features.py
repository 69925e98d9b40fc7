from abc import abstractmethod
from collections.abc import Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

Size = tuple[int, int]
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class FrozenFeatures(nn.Module):
    """A frozen model whose patch features a tokenizer learns to reconstruct (BEiT v2).

    A subclass gives :meth:`featmap`; images, sizes and grids are seen to here. It has its weights
    when it is built, no gradients, and stays in eval mode.

    Args:
        dims: Channels of the features.
        mean, std: Of the teacher's own normalization, for pixels in [0, 1].
        input_size: (H, W) or one number that images are resized to for the teacher (bicubic,
            antialiased). None gives them as they come.
        interpolate: Resize features of another grid than the tokenizer's (bilinear). Off, that is
            an error.
    """

    def __init__(
        self,
        dims: int,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        input_size: int | Sequence[int] | None = None,
        interpolate: bool = False,
    ):
        super().__init__()
        self.dims = dims
        self.input_size = as_size(input_size)
        self.interpolate = interpolate
        self.register_buffer('mean', torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std).view(-1, 1, 1), persistent=False)

    @abstractmethod
    def featmap(self, images: Tensor) -> Tensor:
        """Normalized images (B, C, H, W) -> patch features (B, dims, h, w)."""

    @torch.no_grad()
    def forward(self, images: Tensor, grid: Size | None = None) -> Tensor:
        """(B, C, H, W) in [0, 1] -> (B, N, dims), row by row, of the patches of ``grid`` (h, w).

        Raises:
            ValueError: The teacher has other channels or, without ``interpolate``, another grid.
        """
        if self.input_size is not None and tuple(images.shape[-2:]) != self.input_size:
            images = F.interpolate(images, self.input_size, mode='bicubic', antialias=True)
            images = images.clamp(0, 1)
        features = self.featmap((images - self.mean) / self.std)  # (B, dims, h, w)
        if features.shape[1] != self.dims:
            raise ValueError(
                f'teacher.dims={self.dims}, but {self.name} gives {features.shape[1]} channels; '
                f'set teacher.dims={features.shape[1]}, or choose another output'
            )
        own = tuple(features.shape[-2:])
        if grid is not None and own != tuple(grid):
            if not self.interpolate:
                raise ValueError(
                    f'The teacher {self.name} has {own[0]} x {own[1]} patches of images of '
                    f'{images.shape[-2]} x {images.shape[-1]} pixels (height x width), the '
                    f'tokenizer {grid[0]} x {grid[1]}; change teacher.input_size, or set '
                    'teacher.interpolate=True'
                )
            features = F.interpolate(features.float(), tuple(grid), mode='bilinear')
        return features.flatten(2).transpose(1, 2)

    @property
    def name(self) -> str:
        return type(self).__name__

    def freeze(self) -> None:
        """For the end of a subclass's ``__init__``."""
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> 'FrozenFeatures':
        return super().train(False)


def as_size(size: int | Sequence[int] | None) -> Size | None:
    if size is None:
        return None
    return (size, size) if isinstance(size, int) else tuple(size)
